//! What would happen between two hosts, worked out from what the server knows: members, prefixes,
//! modes, groups and policy. The rule is the agents' own (`ge_core::rule`).
//!
//! The server does not see the network. Routers are put in the order of their prefixes, the
//! narrowest nearest its machines; it knows no router that stands for neither end.

use super::{App, Error};
use crate::store::{Group, Member, PolicyList, Transaction};
use core::net::IpAddr;
use ge_core::GroupId;
use ge_core::rule::{Judgement, Party, judge};
use ge_core::wire::dprp::{Consent, Place};
use mgmt_api::{Kind, Mode, Prefix, Transit};

/// One end of a flow, as an administrator names it: `NAME`, `ADDRESS` or `NAME=ADDRESS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// A host that is a member.
    pub name: Option<String>,
    /// Its address, or that of a machine without an agent.
    pub address: Option<IpAddr>,
}

impl core::str::FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self { name: None, address: Some(address) });
        }
        match text.split_once('=') {
            Some((name, address)) => {
                let wrong = |_| format!("{address:?} is not an address; write NAME=ADDRESS");
                let address = Some(address.parse().map_err(wrong)?);
                Ok(Self { name: Some(name.to_owned()), address })
            }
            None => Ok(Self { name: Some(text.to_owned()), address: None }),
        }
    }
}

impl core::fmt::Display for End {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match (&self.name, self.address) {
            (Some(name), Some(address)) => write!(f, "{name}={address}"),
            (Some(name), None) => f.write_str(name),
            (None, Some(address)) => write!(f, "{address}"),
            (None, None) => Ok(()),
        }
    }
}

/// A member on the path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Its name.
    pub name: String,
    /// Its id in hex.
    pub id: String,
    /// Host or router.
    pub kind: Kind,
    /// Whose side it is on.
    pub place: Place,
    /// Open or closed.
    pub mode: Mode,
    /// What it asks of sessions that pass.
    pub transit: Transit,
    /// Names of its groups.
    pub groups: Vec<String>,
    /// The range by which it stands for its end, if it is a router.
    pub prefix: Option<Prefix>,
}

/// What comes of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Members on the path, from source to destination.
    pub path: Vec<Stop>,
    /// What happens.
    pub outcome: Forecast,
    /// Commands, any one of which would change it, and what it would lead to.
    pub remedies: Vec<(String, Forecast)>,
    /// What the server cannot know, one sentence each.
    pub unknown: Vec<String>,
}

/// What happens to a flow, by whom. Numbers are places in the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forecast {
    /// These two protect it.
    Protected([usize; 2]),
    /// It goes in clear.
    Clear(Reason),
    /// It is dropped by this one, or for this reason.
    Dropped(Reason),
}

/// Why a flow is not protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// There is no member at one of the two ends.
    NoAgent,
    /// There are members at both ends, without a common group.
    NoCommonGroup,
    /// This one is closed, where the flow would be in clear or between two others.
    Closed(usize),
    /// It must not go in clear, and nobody protects it.
    MustProtect,
    /// Agents do not ask there.
    OutOfScope,
}

impl Reason {
    /// Stable code, as `ges trace` has it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NoAgent => "no-agent",
            Self::NoCommonGroup => "no-common-group",
            Self::Closed(_) => "closed",
            Self::MustProtect => "must-protect",
            Self::OutOfScope => "out-of-scope",
        }
    }
}

/// Path and policy, as far as the rule asks; remedies are tried on a copy.
#[derive(Clone)]
struct World {
    path: Vec<Stop>,
    destination: Option<IpAddr>,
    scope: Vec<Prefix>,
    must_protect: Vec<Prefix>,
    groups: Vec<String>,
}

impl App {
    /// What would happen between two hosts.
    ///
    /// # Errors
    /// A name that no member has, or addresses of two IP versions.
    pub fn trace(&self, source: &End, destination: &End) -> Result<Traced, Error> {
        if let (Some(from), Some(to)) = (source.address, destination.address)
            && from.is_ipv4() != to.is_ipv4()
        {
            return Err(Error::unfit("source and destination are of different IP versions"));
        }
        self.read(|tx| {
            let world = World::read(tx, source, destination)?;
            let outcome = world.outcome();
            let remedies = world.remedies(outcome);
            let unknown = unknown(source, destination, &world.path);
            Ok(Traced { path: world.path, outcome, remedies, unknown })
        })
    }
}

impl World {
    fn read(tx: &mut dyn Transaction, source: &End, destination: &End) -> Result<Self, Error> {
        let groups = tx.groups()?;
        let members: Vec<Member> =
            tx.members()?.into_iter().filter(|member| member.removed.is_none()).collect();
        let mut path = Vec::new();
        path.extend(host(&members, &groups, source, Place::Source)?);
        path.extend(routers(&members, &groups, source, destination, Place::Source));
        let mut inward = routers(&members, &groups, destination, source, Place::Destination);
        inward.reverse();
        path.extend(inward);
        path.extend(host(&members, &groups, destination, Place::Destination)?);
        Ok(Self {
            path,
            destination: destination.address,
            scope: tx.policy(PolicyList::SearchScope)?,
            must_protect: tx.policy(PolicyList::MustProtect)?,
            groups: groups.into_iter().map(|group| group.name).collect(),
        })
    }

    fn outcome(&self) -> Forecast {
        let within = |ranges: &[Prefix]| {
            let inside = |to| ranges.iter().any(|range| contains(range, to));
            self.destination.is_some_and(inside)
        };
        let must_protect = within(&self.must_protect);
        // Without an address there is no telling; neighbours are asked in any case.
        let asked = self.destination.is_none() || must_protect || within(&self.scope);
        let parties: Vec<Party> = self.path.iter().map(|stop| self.party(stop, asked)).collect();
        let side = |place| self.path.iter().any(|stop| stop.place == place);
        let reason = match (side(Place::Source), side(Place::Destination)) {
            _ if !asked => Reason::OutOfScope,
            (true, true) => Reason::NoCommonGroup,
            _ => Reason::NoAgent,
        };
        match judge(&parties) {
            Judgement::Protect { first, last } => Forecast::Protected([first, last]),
            Judgement::Bypass if must_protect && side(Place::Source) => {
                Forecast::Dropped(Reason::MustProtect)
            }
            Judgement::Bypass => Forecast::Clear(reason),
            Judgement::Discard { by } => Forecast::Dropped(Reason::Closed(by)),
        }
    }

    /// Nobody who is not asked has a group in common with who does not ask.
    fn party(&self, stop: &Stop, asked: bool) -> Party {
        let transit = match stop.transit {
            Transit::Strict => ge_core::Transit::Strict,
            Transit::Vouched => ge_core::Transit::Vouched,
            Transit::Any => ge_core::Transit::Any,
        };
        let number = |name: &String| self.groups.iter().position(|group| group == name);
        let groups = stop.groups.iter().filter_map(number).map(|at| GroupId(at as u32));
        Party {
            place: stop.place,
            consent: match stop.mode {
                Mode::Open | Mode::Observe => Consent::Open,
                Mode::Closed => Consent::Closed(transit),
            },
            groups: if asked { groups.collect() } else { Vec::new() },
        }
    }

    /// Every single change is tried; those that help are told, protection first.
    fn remedies(&self, now: Forecast) -> Vec<(String, Forecast)> {
        let mut found: Vec<(String, Forecast)> = self
            .candidates()
            .into_iter()
            .map(|(command, world)| (command, world.outcome()))
            .filter(|(_, outcome)| rank(*outcome) > rank(now))
            .collect();
        // Who refuses is where people look first.
        let decider = match now {
            Forecast::Dropped(Reason::Closed(by)) => format!(" set {} ", self.path[by].name),
            _ => String::new(),
        };
        found.sort_by_key(|(command, outcome)| {
            (core::cmp::Reverse(rank(*outcome)), !command.contains(&decider))
        });
        found
    }

    fn candidates(&self) -> Vec<(String, Self)> {
        let mut candidates = Vec::new();
        let mut add = |command: String, change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            change(&mut world);
            candidates.push((format!("mgmt-server {command}"), world));
        };
        let mut on_path: Vec<&String> = self.path.iter().flat_map(|stop| &stop.groups).collect();
        on_path.sort_unstable();
        on_path.dedup();
        for (at, stop) in self.path.iter().enumerate().rev() {
            let name = &stop.name;
            for group in on_path.iter().filter(|group| !stop.groups.contains(group)) {
                add(format!("member set {name} --group {group}"), &|world| {
                    world.path[at].groups.push((*group).clone());
                });
            }
            if stop.mode == Mode::Closed {
                if stop.kind == Kind::Router {
                    add(format!("member set {name} --transit any"), &|world| {
                        world.path[at].transit = Transit::Any;
                    });
                }
                add(format!("member set {name} --mode open"), &|world| {
                    world.path[at].mode = Mode::Open;
                });
            }
        }
        if let Some(to) = self.destination {
            let bits = if to.is_ipv4() { 32 } else { 128 };
            if let Some(only) = Prefix::covering(to, bits) {
                add(format!("policy scope add {only}"), &|world| world.scope.push(only));
            }
            let keep = |range: &Prefix| !contains(range, to);
            for range in self.must_protect.iter().filter(|range| contains(range, to)) {
                add(format!("policy must-protect remove {range}"), &|world| {
                    world.must_protect.retain(keep);
                });
            }
        }
        candidates
    }
}

const fn rank(outcome: Forecast) -> u8 {
    match outcome {
        Forecast::Protected(_) => 2,
        Forecast::Clear(_) => 1,
        Forecast::Dropped(_) => 0,
    }
}

/// The member that is itself an end.
fn host(
    members: &[Member],
    groups: &[Group],
    end: &End,
    place: Place,
) -> Result<Option<Stop>, Error> {
    let Some(name) = &end.name else { return Ok(None) };
    let member = members.iter().find(|member| member.name == *name);
    let member = member.ok_or_else(|| {
        Error::unfit(format!("there is no member {name:?}; see `member list`, or write an address"))
    })?;
    Ok(Some(stop(member, groups, place, None)))
}

/// Routers in front of `end` and not of `other`, the nearest first.
fn routers(
    members: &[Member],
    groups: &[Group],
    end: &End,
    other: &End,
    place: Place,
) -> Vec<Stop> {
    let Some(address) = end.address else { return Vec::new() };
    let range = |member: &Member, address: IpAddr| {
        let mut ranges = member.prefixes.iter().filter(|range| contains(range, address));
        ranges.next().copied()
    };
    let own = |member: &&Member| end.name.as_ref() != Some(&member.name);
    let mut found: Vec<Stop> = members
        .iter()
        .filter(own)
        .filter(|member| other.address.is_none_or(|other| range(member, other).is_none()))
        .filter_map(|member| Some(stop(member, groups, place, Some(range(member, address)?))))
        .collect();
    found.sort_by_key(|stop| core::cmp::Reverse(stop.prefix.map(|range| range.length())));
    found
}

fn stop(member: &Member, groups: &[Group], place: Place, prefix: Option<Prefix>) -> Stop {
    let own = groups.iter().filter(|group| member.groups.contains(&group.id));
    Stop {
        name: member.name.clone(),
        id: member.id.to_string(),
        kind: member.kind,
        place,
        mode: member.mode,
        transit: member.transit,
        groups: own.map(|group| group.name.clone()).collect(),
        prefix,
    }
}

fn contains(range: &Prefix, address: IpAddr) -> bool {
    ge_core::mode::Prefix { address: range.address(), length: range.length() }.contains(address)
}

fn unknown(source: &End, destination: &End, path: &[Stop]) -> Vec<String> {
    let mut unknown = Vec::new();
    for end in [source, destination] {
        match (&end.name, end.address) {
            (Some(name), None) => unknown.push(format!(
                "routers in front of {name}: its address is not known here, write {name}=ADDRESS"
            )),
            (None, Some(address)) => unknown.push(format!(
                "whether {address} is a member itself: hosts' addresses are not certified, write \
                 NAME={address} if it is"
            )),
            _ => {}
        }
    }
    let routers =
        |place| path.iter().filter(|stop| stop.kind == Kind::Router && stop.place == place).count();
    if routers(Place::Source) > 1 || routers(Place::Destination) > 1 {
        unknown.push(
            "the order of routers of one side: the narrowest prefix is taken to be nearest".into(),
        );
    }
    unknown.push(
        "routers that stand for neither end, and what is down: `ges trace` on the source asks them"
            .into(),
    );
    unknown
}
