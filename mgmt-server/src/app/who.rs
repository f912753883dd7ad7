//! Who is who: names and groups of members, for other members that met them on a path.

use super::view::identified;
use super::{Act, App, Error};
use crate::store::{Group, Member};
use mgmt_api::{AgentInfo, ErrorCode, Explain, HexBytes, Kind, WhoAnswer, WhoRequest, limits};
use sha2::{Digest, Sha256};

impl App {
    /// What the member with this identity key may know of those it asks about.
    ///
    /// # Errors
    /// [`Error::Refused`]: not a member, or it asks about too many at once.
    pub fn who(&self, identity: HexBytes<32>, request: &WhoRequest) -> Result<WhoAnswer, Error> {
        if request.certificates.len() + request.agents.len() > limits::WHO_AGENTS {
            let most = limits::WHO_AGENTS;
            let message = format!("at most {most} agents can be asked about at once");
            return Err(Error::refused(ErrorCode::BadRequest, message));
        }
        self.read(|tx| {
            let asks = identified(tx, &identity)?;
            let (explain, groups) = (tx.explain()?, tx.groups()?);
            let agents = tx
                .members()?
                .iter()
                .filter(|member| member.removed.is_none())
                .map(|member| (member, certificate_reference(member)))
                .filter(|(member, certificate)| {
                    request.agents.contains(&member.id)
                        || request.certificates.contains(certificate)
                })
                .map(|(member, certificate)| {
                    let told =
                        |group: &Group| explain == Explain::All || asks.groups.contains(&group.id);
                    info(member, certificate, &groups, told)
                })
                .collect();
            Ok(WhoAnswer { agents })
        })
    }

    /// What members are told of each other's groups.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn explain(&self) -> Result<Explain, Error> {
        self.read(|tx| Ok(tx.explain()?))
    }

    /// Changes it. Nothing is pushed: agents ask when somebody wants to know.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_explain(&self, act: Act<'_>, explain: Explain) -> Result<(), Error> {
        self.write(|tx| {
            let before = tx.explain()?;
            tx.put_explain(explain)?;
            act.note(tx, "policy.explain", "domain", before.as_str(), explain.as_str())?;
            Ok(())
        })
    }
}

fn info(
    member: &Member,
    certificate: HexBytes<8>,
    groups: &[Group],
    told: impl Fn(&Group) -> bool,
) -> AgentInfo {
    let own = groups.iter().filter(|group| member.groups.contains(&group.id));
    let (told, untold): (Vec<&Group>, Vec<&Group>) = own.partition(|group| told(group));
    AgentInfo {
        agent: member.id,
        certificate,
        name: member.name.clone(),
        kind: member.kind,
        mode: member.mode,
        transit: (member.kind == Kind::Router).then_some(member.transit),
        groups: told.into_iter().map(|group| group.name.clone()).collect(),
        other_groups: u32::try_from(untold.len()).unwrap_or(u32::MAX),
    }
}

/// First 8 bytes of SHA-256 of a member's present certificate: how records on a path name it.
fn certificate_reference(member: &Member) -> HexBytes<8> {
    let hash: [u8; 32] = Sha256::digest(&member.certificate.bytes).into();
    let mut short = [0; 8];
    short.copy_from_slice(&hash[..8]);
    HexBytes(short)
}
