//! Single deeds of somebody on the path, on one packet that passes.

use super::Origin;
use super::insider::{Insider, Opened, mpit_hash};
use crate::net::below;
use ge_core::crypto::Rng;
use ge_core::dprp::{SeenDde, Witness};
use ge_core::membership::Secret32;
use ge_core::now::UnixTime;
use ge_core::wire::dprp::mpit::MpitPath;
use ge_core::wire::dprp::rgi::Record;
use ge_core::wire::dprp::{Consent, Header, Kind, Place, TableRow, peek};
use ge_core::{Action, Mode, Transit};
use rand_core::Rng as _;
use std::net::IpAddr;

/// What somebody on the path does. The first part needs no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Craft {
    /// The packet ends here.
    Drop,
    /// It arrives twice.
    Twice,
    /// It arrives so many microseconds later, behind others.
    Late(u64),
    /// It goes on, and so does one that passed before.
    Replay,
    /// Some of its bytes are others.
    Flip,
    /// Its end is missing.
    Cut,
    /// It goes on, and also comes back to its sender as the answer of a machine that echoes.
    Reflect,
    /// It goes on in another machine's name.
    Rename,
    /// It goes on to another machine.
    Redirect,

    /// No record of an agent on the path is left.
    Strip,
    /// The record of the last agent is missing.
    Omit,
    /// One record stands there twice.
    Double,
    /// Records come in the reverse order.
    Turn,
    /// A record of an agent that is not there.
    Invent,
    /// All agents on the path have recognised a group of both ends.
    Bitmap,
    /// All agents on the path are open.
    Consent,
    /// All agents on the path stand for neither side.
    Place,
    /// What agents on the path said, they said a minute later.
    Time,
    /// The rows of the action table are in the reverse order, and who protected bypasses.
    Table,
    /// The answering agent is in the other mode.
    Standing,
    /// Tags of the ends' groups are those of other groups.
    Tags,
    /// The message is about the flow in the other direction.
    Flow,
    /// The initiator receives at another address.
    Parameters,
    /// The time stamp of the request is an older one.
    Stamp,
    /// Signed by the intruder in the signer's place.
    Sign,
    /// Not signed.
    NoSign,
    /// A confirmation of another decision.
    Other,
    /// The question is answered by the intruder: nobody here, in open mode.
    Deny,
    /// The same in closed mode.
    Refuse,
    /// The number of records is one more than there are.
    Count,
}

/// What a craft is applied to, and with what.
pub struct Deed<'a> {
    /// The intruder's keys, if it has any.
    pub insider: Option<&'a Insider>,
    /// The negotiation message.
    pub message: &'a [u8],
    /// Addresses of other machines.
    pub others: &'a [IpAddr],
    /// Wall time.
    pub unix: UnixTime,
}

impl Craft {
    /// Crafts that need no key.
    pub const OUTSIDE: [Self; 9] = [
        Self::Drop,
        Self::Twice,
        Self::Late(400_000),
        Self::Replay,
        Self::Flip,
        Self::Cut,
        Self::Reflect,
        Self::Rename,
        Self::Redirect,
    ];

    /// Crafts that need keys of the domain.
    pub const INSIDE: [Self; 21] = [
        Self::Strip,
        Self::Omit,
        Self::Double,
        Self::Turn,
        Self::Invent,
        Self::Bitmap,
        Self::Consent,
        Self::Place,
        Self::Time,
        Self::Table,
        Self::Standing,
        Self::Tags,
        Self::Flow,
        Self::Parameters,
        Self::Stamp,
        Self::Sign,
        Self::NoSign,
        Self::Other,
        Self::Deny,
        Self::Refuse,
        Self::Count,
    ];

    /// Who vouches for the bytes that come of it.
    #[must_use]
    pub const fn origin(self) -> Origin {
        match self {
            Self::Drop | Self::Twice | Self::Late(_) => Origin::Genuine,
            Self::Replay | Self::Reflect | Self::Rename | Self::Redirect => Origin::Replayed,
            Self::Flip | Self::Cut => Origin::Forged,
            _ => Origin::Insider,
        }
    }
}

impl Deed<'_> {
    /// The message as it goes on. `None`: the craft has nothing to do with such a message, or lacks
    /// the keys.
    #[must_use]
    pub fn lie(&self, craft: Craft, rng: &mut Rng) -> Option<Vec<u8>> {
        let insider = self.insider?;
        let header = peek(self.message)?;
        match (craft, header.kind) {
            (Craft::Deny, Kind::Dde) => return self.say_no(insider, Mode::Open, rng),
            (Craft::Refuse, Kind::Dde) => return self.say_no(insider, Mode::Closed, rng),
            (Craft::Count, _) => {
                let mut changed = self.message.to_vec();
                changed[5] += 1;
                insider.vouch(&mut changed);
                return Some(changed);
            }
            _ => {}
        }
        match insider.open(self.message)? {
            Opened::Rgi(mut path, mut records) => {
                if lie_in_records(craft, &mut records, rng) {
                    return insider.with_records(self.message, &records, rng);
                }
                match craft {
                    Craft::Standing => path.standing.mode = other_mode(path.standing.mode),
                    Craft::Tags => {
                        rng.fill_bytes(path.initiator_tags.as_flattened_mut());
                        rng.fill_bytes(path.responder_tags.as_flattened_mut());
                    }
                    Craft::Flow => path.pair = path.pair.reversed(),
                    _ => return None,
                }
                insider.close(self.message, &Opened::Rgi(path, records), rng)
            }
            Opened::Mpit(mut path) => {
                self.lie_in_mpit(insider, &header, craft, &mut path, rng)?;
                insider.close(self.message, &Opened::Mpit(path), rng)
            }
            Opened::Cdn(mut path) => {
                match craft {
                    Craft::NoSign => path.signature.fill(0),
                    Craft::Sign => path.certificate = insider.certificate().to_vec(),
                    Craft::Other => rng.fill_bytes(&mut path.mpit_hash),
                    _ => return None,
                }
                insider.close(self.message, &Opened::Cdn(path), rng)
            }
            Opened::NoMatch(mut facts) => {
                match craft {
                    Craft::Standing => {
                        facts.standing.mode = other_mode(facts.standing.mode);
                        insider.sign_nomatch(&header, &mut facts);
                    }
                    Craft::Place => {
                        facts.place = Place::Destination;
                        facts.standing.mode = Mode::Open;
                        insider.sign_nomatch(&header, &mut facts);
                    }
                    Craft::Tags => rng.fill_bytes(facts.tags.as_flattened_mut()),
                    Craft::Sign => insider.sign_nomatch(&header, &mut facts),
                    Craft::NoSign => facts.signature.fill(0),
                    _ => return None,
                }
                insider.close(self.message, &Opened::NoMatch(facts), rng)
            }
        }
    }

    fn lie_in_mpit(
        &self,
        insider: &Insider,
        header: &Header,
        craft: Craft,
        path: &mut MpitPath,
        rng: &mut Rng,
    ) -> Option<()> {
        if lie_in_records(craft, &mut path.records, rng) {
            // A table that fits, or the form alone would give it away.
            path.table.resize(path.records.len() + 2, TableRow(Action::Bypass));
            let last = path.table.len() - 1;
            for (at, row) in path.table.iter_mut().enumerate() {
                let end = at == 0 || at == last;
                *row = TableRow(if end { Action::Protect } else { Action::Bypass });
            }
            return Some(());
        }
        match craft {
            Craft::Table => {
                for row in &mut path.table {
                    row.0 = match row.0 {
                        Action::Protect => Action::Bypass,
                        Action::Bypass | Action::Discard => Action::Protect,
                    };
                }
            }
            Craft::Flow => {
                let (one, other) = path.flow[8..].split_at_mut(16);
                one.swap_with_slice(other);
            }
            Craft::Parameters => {
                let others = self.others;
                path.initiator.wire.0 = *others.get(below(rng, others.len() as u64) as usize)?;
            }
            Craft::Stamp => path.timestamp.0 = path.timestamp.0.saturating_sub(60),
            Craft::NoSign => path.signature.fill(0),
            Craft::Sign => insider.sign_mpit(header, path),
            _ => return None,
        }
        Some(())
    }

    /// The intruder's own, signed, NOMATCH to a DDE, as if it stood at the destination.
    fn say_no(&self, insider: &Insider, mode: Mode, rng: &mut Rng) -> Option<Vec<u8>> {
        let keyring = insider.keyring()?;
        let seen = SeenDde::read(&keyring, self.message, self.unix).ok()?;
        let secret = Secret32([1; 32]);
        let witness = Witness { keyring: &keyring, secret: &secret, place: Place::Destination };
        let message = seen.refuse(&witness, ge_core::dprp::Word::Own, rng, self.unix)?;
        let header = peek(&message)?;
        let Opened::NoMatch(mut facts) = insider.open(&message)? else { return None };
        facts.standing.mode = mode;
        facts.standing.router = false;
        insider.sign_nomatch(&header, &mut facts);
        insider.close(&message, &Opened::NoMatch(facts), rng)
    }
}

/// True if the craft is about records and there is something to lie about.
fn lie_in_records(craft: Craft, records: &mut Vec<Record>, rng: &mut Rng) -> bool {
    if craft == Craft::Invent {
        let mut lmac = [0; 16];
        rng.fill_bytes(&mut lmac);
        let certificate_ref = lmac[..8].try_into().unwrap_or_default();
        let (consent, place, time) = (Consent::Open, Place::Between, 0);
        records.push(Record { certificate_ref, consent, place, matches: [0, 0], time, lmac });
        return records.len() <= ge_core::limits::PATH_RECORDS;
    }
    if records.is_empty() {
        return false;
    }
    match craft {
        Craft::Strip => records.clear(),
        Craft::Omit => {
            records.pop();
        }
        Craft::Double => {
            let again = records[0];
            records.push(again);
        }
        Craft::Turn => records.reverse(),
        Craft::Bitmap => records.iter_mut().for_each(|record| record.matches = [0xff, 0xff]),
        Craft::Consent => records.iter_mut().for_each(|record| {
            record.consent = match record.consent {
                Consent::Open => Consent::Closed(Transit::Any),
                Consent::Closed(_) => Consent::Open,
            };
        }),
        Craft::Place => records.iter_mut().for_each(|record| {
            record.place = match record.place {
                Place::Source | Place::Destination => Place::Between,
                Place::Between => Place::Source,
            };
        }),
        Craft::Time => records.iter_mut().for_each(|record| record.time += 60),
        _ => return false,
    }
    records.len() <= ge_core::limits::PATH_RECORDS
}

const fn other_mode(mode: Mode) -> Mode {
    match mode {
        Mode::Open => Mode::Closed,
        Mode::Closed => Mode::Open,
    }
}

/// A whole CDN in the intruder's name to an MPIT that passes: agents between can check all of it but
/// the confirmation, which is for the initiator alone.
#[must_use]
pub fn confirm(insider: &Insider, mpit: &[u8], rng: &mut Rng) -> Option<Vec<u8>> {
    let header = peek(mpit)?;
    let Opened::Mpit(path) = insider.open(mpit)? else { return None };
    let cdn = insider.sign_cdn(&header, &path, mpit_hash(mpit)?);
    let mut message = mpit.get(..ge_core::wire::dprp::HEADER_LEN)?.to_vec();
    message[3] = Kind::Cdn.code();
    message[5] = 0;
    message.extend_from_slice(&[7; 48]);
    let length = message.len() as u16;
    message[6..8].copy_from_slice(&length.to_be_bytes());
    insider.close(&message, &Opened::Cdn(cdn), rng)
}
