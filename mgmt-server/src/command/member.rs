//! `member list|set|remove`.

use super::output::{or_dash, print, print_json, rfc3339, table};
use super::{act, open};
use crate::app::{Error, MemberChange};
use crate::cli::{Data, Format, MemberSet};
use crate::store::Member;
use mgmt_api::{Kind, Prefix};
use serde::Serialize;

#[derive(Serialize)]
struct MemberList {
    schema: &'static str,
    members: Vec<MemberJson>,
}

#[derive(Serialize)]
struct MemberJson {
    id: String,
    name: String,
    kind: &'static str,
    mode: &'static str,
    groups: Vec<String>,
    transit: &'static str,
    prefixes: Vec<String>,
    offered: Vec<String>,
    subnets: Vec<String>,
    identity_key: String,
    aes: bool,
    version: u64,
    enrolled: String,
    last_seen: String,
    certificate_expires: String,
}

pub(crate) fn list(data: &Data, format: Format) -> Result<(), Error> {
    let list = json(open(data)?.members()?);
    if format.json { print_json(&list) } else { print(&as_table(&list)) }
}

fn json(members: Vec<(Member, Vec<String>)>) -> MemberList {
    let texts = |prefixes: &[Prefix]| prefixes.iter().map(ToString::to_string).collect();
    let members = members.into_iter().map(|(member, groups)| MemberJson {
        id: member.id.to_string(),
        kind: member.kind.as_str(),
        mode: member.mode.as_str(),
        groups,
        transit: member.transit.as_str(),
        prefixes: texts(&member.prefixes),
        offered: texts(&offered(&member)),
        subnets: texts(&member.subnets),
        identity_key: member.identity_key.to_string(),
        aes: member.aes,
        version: member.version,
        enrolled: rfc3339(member.created),
        last_seen: rfc3339(member.last_seen),
        certificate_expires: rfc3339(member.certificate.expires),
        name: member.name,
    });
    MemberList { schema: "mgmt.member-list/1", members: members.collect() }
}

/// Subnets a router wants to stand for and may not yet.
fn offered(member: &Member) -> Vec<Prefix> {
    let certified =
        |subnet: &Prefix| member.prefixes.iter().any(|certified| certified.covers(subnet));
    let mut offered = member.subnets.clone();
    offered.retain(|subnet| member.kind == Kind::Router && !certified(subnet));
    offered
}

fn as_table(list: &MemberList) -> String {
    let rows: Vec<_> = list
        .members
        .iter()
        .map(|member| {
            [
                member.name.clone(),
                member.id.clone(),
                member.kind.into(),
                member.mode.into(),
                or_dash(&member.groups),
                or_dash(&member.prefixes),
                or_dash(&member.offered),
                if member.kind == "router" { member.transit.into() } else { "-".into() },
                member.last_seen.clone(),
            ]
        })
        .collect();
    table(
        ["NAME", "ID", "KIND", "MODE", "GROUPS", "PREFIXES", "OFFERED", "TRANSIT", "LAST SEEN"],
        &rows,
    )
}

pub(crate) fn set(args: &MemberSet) -> Result<(), Error> {
    let change = MemberChange {
        mode: args.mode.map(Into::into),
        transit: args.transit.map(Into::into),
        prefixes: (!args.prefixes.is_empty()).then(|| args.prefixes.clone()),
        join: args.groups.clone(),
    };
    let member = act(|act| open(&args.data)?.change_member(act, &args.id, &change))?;
    print(&sentence(&member))
}

fn sentence(member: &Member) -> String {
    let mut text = format!("{} {} is {}", member.name, member.id, member.mode);
    if member.kind == Kind::Router {
        let prefixes: Vec<String> = member.prefixes.iter().map(ToString::to_string).collect();
        text.push_str(&format!(
            ", stands for {}, transit {}",
            if prefixes.is_empty() { "itself alone".to_owned() } else { prefixes.join(", ") },
            member.transit
        ));
    }
    text
}

pub(crate) fn remove(data: &Data, id: &str) -> Result<(), Error> {
    let member = act(|act| open(data)?.remove_member(act, id))?;
    print(&format!("{} {} removed; the others get new keys now", member.name, member.id))
}

#[cfg(test)]
mod tests {
    use super::super::output::assert_golden;
    use super::*;
    use crate::store::Certificate;
    use mgmt_api::{HexBytes, Mode, Transit};

    #[test]
    fn json_is_as_the_golden_file_says() {
        let member = Member {
            id: HexBytes([0xa0; 16]),
            name: "hq".into(),
            kind: Kind::Router,
            mode: Mode::Closed,
            identity_key: HexBytes([0x1d; 32]),
            noise_key: HexBytes([0x2e; 32]),
            aes: true,
            transit: Transit::Any,
            prefixes: vec!["10.30.0.0/16".parse().unwrap()],
            subnets: ["10.30.1.0/24", "10.31.0.0/16"].map(|text| text.parse().unwrap()).to_vec(),
            groups: vec![3],
            token: HexBytes([0; 8]),
            version: 9,
            created: 1_700_000_000,
            last_seen: 1_700_000_060,
            removed: None,
            certificate: Certificate {
                serial: HexBytes([5; 16]),
                issued: 1_700_000_000,
                expires: 1_700_086_400,
                bytes: vec![1],
            },
        };
        let list = json(vec![(member, vec!["sales".into()])]);
        assert_golden("member-list", &list);
    }
}
