//! Making the domain, and what concerns all of it.

use super::{Act, App, Error, issuer};
use crate::keyring::Keyring;
use crate::store::{Domain, KeyScope, MemberId, PolicyList, Transaction};
use core::net::SocketAddr;
use ed25519_dalek::SigningKey;
use mgmt_api::{HexBytes, ServerAddress};
use sha2::{Digest, Sha256};

/// Destinations worth asking for an agent, at first: the address ranges that organisations number
/// their own machines from (RFC 1918, RFC 4193) and shared address space, which carriers and
/// clouds use the same way (RFC 6598). Public addresses are added by `policy scope add`: asking
/// every web server in the world would cost each first packet a wait. Link-local ranges are left
/// out, because no program names a machine by them.
const SEARCH_SCOPE: [&str; 5] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// What a new domain is made from.
pub struct NewDomain<'a> {
    /// Root key; used here and then kept offline.
    pub root: &'a SigningKey,
    /// Where to listen.
    pub listen: SocketAddr,
    /// Where agents are told to come; empty: where the server listens.
    pub advertise: Vec<ServerAddress>,
}

impl App {
    /// Makes the domain in an empty store: domain keys, first issuing key, search scope.
    ///
    /// # Errors
    /// The store cannot be written, or no randomness.
    pub fn create_domain(&self, act: Act<'_>, new: &NewDomain<'_>) -> Result<Domain, Error> {
        let root_key = HexBytes(new.root.verifying_key().to_bytes());
        let domain = Domain {
            id: domain_id(&root_key),
            root_key,
            listen: new.listen,
            advertise: new.advertise.clone(),
            bound: None,
        };
        let scope = SEARCH_SCOPE.map(|text| text.parse().expect("invariant: tested constants"));
        self.write(|tx| {
            tx.put_domain(&domain)?;
            tx.put_policy(PolicyList::SearchScope, &scope)?;
            tx.put_keyring(KeyScope::Domain, &Keyring::start(act.now)?)?;
            tx.insert_issuer(&issuer::make(domain.id, new.root, act.now)?)?;
            act.note(tx, "domain.create", &domain.id.to_string(), "", "")?;
            Ok(())
        })?;
        Ok(domain)
    }

    /// What was fixed when the domain was made.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn domain(&self) -> Result<Domain, Error> {
        self.read(|tx| Ok(tx.domain()?))
    }

    /// Notes where the running server listens, for the tokens made from now on.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn set_bound(&self, bound: SocketAddr) -> Result<(), Error> {
        self.write(|tx| {
            let mut domain = tx.domain()?;
            domain.bound = Some(bound);
            Ok(tx.put_domain(&domain)?)
        })
    }

    /// Version of the whole domain.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn version(&self) -> Result<u64, Error> {
        self.read(|tx| Ok(tx.version()?))
    }
}

/// Gives every present member's view the next version.
pub(super) fn bump_all(tx: &mut dyn Transaction) -> Result<(), Error> {
    bump_where(tx, |_| true)
}

/// Gives the views of the present members of `group` the next version.
pub(super) fn bump_group(tx: &mut dyn Transaction, group: u32) -> Result<(), Error> {
    bump_where(tx, |groups| groups.contains(&group))
}

fn bump_where(tx: &mut dyn Transaction, concerned: impl Fn(&[u32]) -> bool) -> Result<(), Error> {
    let members: Vec<MemberId> = tx
        .members()?
        .iter()
        .filter(|member| member.removed.is_none() && concerned(&member.groups))
        .map(|member| member.id)
        .collect();
    Ok(tx.bump(&members)?)
}

/// The domain's id says which root it has: the first 8 bytes of SHA-256 of the root key.
fn domain_id(root_key: &HexBytes<32>) -> HexBytes<8> {
    let hash: [u8; 32] = Sha256::digest(root_key.0).into();
    let mut id = [0; 8];
    id.copy_from_slice(&hash[..8]);
    HexBytes(id)
}
