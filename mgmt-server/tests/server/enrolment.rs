//! Tokens and what they are good for.

use super::support::{Agent, started};
use ge_core::cert::Certificate;
use ge_core::membership::{Issuer, Secret32};
use ge_core::{DomainId, UnixTime};
use mgmt_api::{
    Bundle, ErrorCode, HexBytes, Kind, RenewRequest, Secret, Transit, WhoAnswer, WhoRequest, path,
};
use sha2::{Digest, Sha256};
use std::sync::Arc;
use tokio::sync::Semaphore;

#[tokio::test]
async fn a_member_gets_what_it_needs() {
    let (domain, running) = started();
    let agent = Agent::new(running.address, 1);
    let bundle = agent.enrol(&domain.token(&["--mode", "closed"])).await.unwrap();
    assert_eq!(bundle.name, "host");
    assert_eq!(bundle.mode, mgmt_api::Mode::Closed);
    assert_eq!(bundle.groups[0].name, "sales");
    assert_eq!((bundle.domain_keys.len(), bundle.groups[0].keys.len()), (2, 2));
    assert!(bundle.search_scope.contains(&"10.0.0.0/8".parse().unwrap()));
    let certificate = verified(&bundle);
    assert_eq!(certificate.identity_key, agent.identity.verifying_key().to_bytes());
    assert!(certificate.is_member(&Secret32(*bundle.groups[0].commit_key.expose())));
    assert!(!certificate.is_member(&Secret32([0; 32])));
    let members = domain.json(&["member", "list", "--json"]);
    assert_eq!(members["members"][0]["id"], bundle.agent.to_string());

    let renew = RenewRequest { noise_key: HexBytes([0x77; 32]), aes: false };
    let renewed: Bundle = agent.post(path::RENEW, &renew).await.unwrap();
    assert!(renewed.version > bundle.version);
    assert_eq!(verified(&renewed).noise_key, [0x77; 32]);
    assert_ne!(verified(&renewed).serial, certificate.serial);
}

#[tokio::test]
async fn a_router_stands_for_what_the_token_allows_and_an_administrator_certifies_the_rest() {
    let (domain, running) = started();
    let allow = ["--kind", "router", "--prefix", "10.30.0.0/16", "--prefix", "fd00::/8"];
    let token = domain.token(&allow);
    let agent = Agent::new(running.address, 1);
    let mut request = agent.request(&token);
    request.kind = Kind::Router;
    let offered = ["10.30.1.0/24", "10.30.1.128/25", "10.0.0.0/8", "0.0.0.0/0", "fd00:1::/64"];
    request.subnets = offered.map(|text| text.parse().unwrap()).to_vec();
    let bundle: Bundle = agent.post(path::ENROL, &request).await.unwrap();
    let allowed = ["10.30.1.0/24", "fd00:1::/64"].map(|text| text.parse().unwrap());
    assert_eq!(bundle.prefixes, allowed);
    let proved = verified(&bundle).prefixes;
    assert_eq!(proved.len(), 2);
    assert!(proved[0].contains("10.30.1.9".parse().unwrap()));
    let listed = domain.json(&["member", "list", "--json"])["members"][0].clone();
    assert_eq!(listed["prefixes"], serde_json::json!(["10.30.1.0/24", "fd00:1::/64"]));
    assert_eq!(listed["offered"], serde_json::json!(["10.0.0.0/8", "0.0.0.0/0"]));
    assert_eq!(listed["transit"], "vouched");

    let set = ["member", "set", "host", "--prefix", "10.0.0.0/8", "--transit", "any"];
    assert!(domain.ok(&set).contains("stands for 10.0.0.0/8, transit any"));
    let changed = agent.next(bundle.version).await.unwrap();
    assert_eq!(changed.prefixes, ["10.0.0.0/8".parse().unwrap()]);
    assert_eq!(changed.transit, Transit::Any);
    assert!(verified(&changed).prefixes[0].contains("10.200.0.1".parse().unwrap()));
    assert_eq!(
        domain.fails(1, &["member", "set", "host", "--prefix", "0.0.0.0/0"]).lines().count(),
        1
    );
}

#[tokio::test]
async fn a_host_is_certified_for_no_prefix_and_lets_nothing_pass() {
    let (domain, running) = started();
    let agent = Agent::new(running.address, 1);
    let mut request = agent.request(&domain.token(&[]));
    request.subnets = vec!["10.30.1.0/24".parse().unwrap()];
    let bundle: Bundle = agent.post(path::ENROL, &request).await.unwrap();
    assert!(bundle.prefixes.is_empty());
    for change in [["--prefix", "10.30.1.0/24"], ["--transit", "any"]] {
        let set = [&["member", "set", "host"][..], &change].concat();
        assert!(domain.fails(1, &set).contains("is a host"), "{change:?}");
    }
}

/// The certificate, believed as an agent would believe it.
fn verified(bundle: &Bundle) -> Certificate {
    let issuers: Vec<Issuer> = bundle
        .issuers
        .iter()
        .map(|issuer| Issuer {
            id: Sha256::digest(issuer.key.0)[..8].try_into().unwrap(),
            key: issuer.key.0,
            not_before: UnixTime(issuer.not_before),
            not_after: UnixTime(issuer.not_after),
        })
        .collect();
    let domain = DomainId(bundle.domain.0);
    let now = UnixTime(bundle.server_time);
    Certificate::verify(&bundle.certificate.0, &issuers, domain, now).unwrap()
}

#[tokio::test]
async fn a_token_is_used_once() {
    let (domain, running) = started();
    let token = domain.token(&[]);
    let (first, second) = (Agent::new(running.address, 1), Agent::new(running.address, 2));
    let bundle = first.enrol(&token).await.unwrap();
    assert_eq!(second.enrol(&token).await.unwrap_err(), ErrorCode::TokenUsed);
    // The first one's answer may have been lost: it may ask again, and is the same member.
    assert_eq!(first.enrol(&token).await.unwrap().agent, bundle.agent);
    let other = domain.token(&[]);
    assert_eq!(first.enrol(&other).await.unwrap_err(), ErrorCode::AlreadyEnrolled);
    let named = second.enrol(&other).await.unwrap();
    assert_eq!(named.name, "host-2");
}

#[tokio::test]
async fn tokens_that_do_not_count() {
    let (domain, running) = started();
    let agent = Agent::new(running.address, 1);
    let token = domain.token(&[]);

    let mut wrong = token.clone();
    wrong.secret = Secret::new([0; 32]);
    assert_eq!(agent.enrol(&wrong).await.unwrap_err(), ErrorCode::WrongToken);
    let mut wrong = token.clone();
    wrong.id = HexBytes([0; 8]);
    assert_eq!(agent.enrol(&wrong).await.unwrap_err(), ErrorCode::WrongToken);

    let mut router = agent.request(&token);
    router.kind = Kind::Router;
    let refused: Result<Bundle, _> = agent.post(path::ENROL, &router).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::WrongKind);

    let expired = domain.token(&["--expires", "0s"]);
    assert_eq!(agent.enrol(&expired).await.unwrap_err(), ErrorCode::TokenExpired);

    let revoked = domain.token(&[]);
    domain.ok(&["token", "revoke", &revoked.id.to_string()]);
    assert_eq!(agent.enrol(&revoked).await.unwrap_err(), ErrorCode::TokenRevoked);

    let mut low_order = agent.request(&token);
    low_order.noise_key = HexBytes([0; 32]);
    let refused: Result<Bundle, _> = agent.post(path::ENROL, &low_order).await;
    assert_eq!(refused.unwrap_err(), ErrorCode::BadRequest);

    // None of this used the token up, and strangers learn nothing.
    assert_eq!(agent.next(0).await.unwrap_err(), ErrorCode::NotMember);
    agent.enrol(&token).await.unwrap();
}

/// THREATS.md row 42.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_at_once_with_one_token_make_one_member() {
    let (domain, running) = started();
    let token = Arc::new(domain.token(&[]));
    let places = Arc::new(Semaphore::new(64));
    let attempts: Vec<_> = (0..1000)
        .map(|number| {
            let (token, places) = (token.clone(), places.clone());
            let agent = Agent::new(running.address, number);
            tokio::spawn(async move {
                let _place = places.acquire().await.unwrap();
                agent.enrol(&token).await
            })
        })
        .collect();
    let mut granted = 0;
    for attempt in attempts {
        match attempt.await.unwrap() {
            Ok(_) => granted += 1,
            Err(code) => assert_eq!(code, ErrorCode::TokenUsed),
        }
    }
    assert_eq!(granted, 1);
    let members = domain.json(&["member", "list", "--json"]);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn members_read_who_is_who_but_only_of_groups_they_share() {
    let (domain, running) = started();
    domain.ok(&["group", "create", "lab"]);
    let asks = Agent::new(running.address, 1);
    let own = asks.enrol(&domain.token(&[])).await.unwrap();
    let other = Agent::new(running.address, 2);
    let met = other.enrol(&domain.token(&["--group", "lab", "--mode", "closed"])).await.unwrap();
    let reference = first_8(&met.certificate.0);
    let ask = |certificates, agents| WhoRequest { certificates, agents };
    let request = ask(vec![reference], vec![own.agent, HexBytes([0xff; 16])]);
    let answer: WhoAnswer = asks.post(path::WHO, &request).await.unwrap();
    let who = |answer: &WhoAnswer, agent| {
        let mut found = answer.agents.iter().filter(|who| who.agent == agent);
        let (Some(one), None) = (found.next(), found.next()) else { panic!("{answer:?}") };
        (one.certificate, one.mode, one.groups.clone(), one.other_groups)
    };
    assert_eq!(answer.agents.len(), 2);
    let (_, _, groups, others) = who(&answer, own.agent);
    assert_eq!((groups, others), (vec!["sales".into()], 0));
    let (certificate, mode, groups, others) = who(&answer, met.agent);
    assert_eq!((certificate, mode), (reference, mgmt_api::Mode::Closed));
    assert_eq!((groups, others), (vec!["sales".into()], 1), "lab is not told");

    domain.ok(&["policy", "explain", "all"]);
    assert!(domain.ok(&["policy", "explain"]).starts_with("all: "));
    let answer: WhoAnswer = asks.post(path::WHO, &request).await.unwrap();
    assert_eq!(who(&answer, met.agent).2, ["sales", "lab"]);

    let many = ask(vec![HexBytes([0; 8]); 33], Vec::new());
    let refused = asks.post::<WhoAnswer>(path::WHO, &many).await.unwrap_err();
    assert_eq!(refused, ErrorCode::BadRequest);
    let stranger = Agent::new(running.address, 3);
    let refused = stranger.post::<WhoAnswer>(path::WHO, &request).await.unwrap_err();
    assert_eq!(refused, ErrorCode::NotMember);
    domain.ok(&["member", "remove", &own.agent.to_string()]);
    let refused = asks.post::<WhoAnswer>(path::WHO, &request).await.unwrap_err();
    assert_eq!(refused, ErrorCode::Removed);
}

fn first_8(certificate: &[u8]) -> HexBytes<8> {
    HexBytes(Sha256::digest(certificate)[..8].try_into().unwrap())
}

#[tokio::test]
async fn a_member_joins_a_group_by_command() {
    let (domain, running) = started();
    domain.ok(&["group", "create", "lab"]);
    let agent = Agent::new(running.address, 1);
    let bundle = agent.enrol(&domain.token(&[])).await.unwrap();
    domain.ok(&["member", "set", "host", "--group", "lab", "--group", "sales"]);
    let changed = agent.next(bundle.version).await.unwrap();
    let names: Vec<&str> = changed.groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(names, ["sales", "lab"]);
    let certificate = verified(&changed);
    assert!(certificate.is_member(&Secret32(*changed.groups[1].commit_key.expose())));
    let sentence = domain.fails(1, &["member", "set", "host", "--group", "nobody"]);
    assert!(sentence.contains("group create nobody"), "{sentence}");
}

#[tokio::test]
async fn the_server_traces_by_what_it_knows_and_its_advice_helps() {
    let (domain, running) = started();
    domain.ok(&["group", "create", "ops"]);
    let enrol = async |number, name: &str, kind, token: &[&str]| {
        let agent = Agent::new(running.address, number);
        let mut request = agent.request(&domain.token_of(token));
        request.name = name.into();
        request.kind = kind;
        request.subnets = vec!["10.20.0.0/16".parse().unwrap()];
        agent.post::<Bundle>(path::ENROL, &request).await.unwrap();
    };
    enrol(1, "laptop", Kind::Host, &["--group", "sales"]).await;
    enrol(2, "files", Kind::Host, &["--group", "sales"]).await;
    let router = ["--group", "ops", "--kind", "router", "--prefix", "10.0.0.0/8"];
    enrol(3, "gen-hq", Kind::Router, &[&router[..], &["--mode", "closed"]].concat()).await;
    let ask = ["trace", "laptop=10.20.0.7", "files", "--json"];
    let traced = domain.json(&ask);
    assert_eq!((&traced["verdict"], &traced["code"]), (&"dropped".into(), &"closed".into()));
    let agents = traced["agents"].as_array().unwrap();
    let names: Vec<&str> = agents.iter().map(|agent| agent["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["laptop", "gen-hq", "files"]);
    assert_eq!(agents[1]["decided"], true);
    assert!(traced["unknown"][0].as_str().unwrap().contains("files=ADDRESS"));
    let remedies = traced["remedies"].as_array().unwrap();
    let commands: Vec<&str> =
        remedies.iter().map(|remedy| remedy["command"].as_str().unwrap()).collect();
    assert!(commands.contains(&"mgmt-server member set gen-hq --group sales"), "{commands:?}");
    for remedy in remedies {
        // Each alone is enough: tried on a copy of the rule, not promised.
        assert_eq!(remedy["verdict"], "protected", "{remedy}");
    }
    domain.ok(&["member", "set", "gen-hq", "--group", "sales"]);
    assert_eq!(domain.json(&ask)["verdict"], "protected");

    let out = domain.json(&["trace", "laptop=10.20.0.7", "198.51.100.7", "--json"]);
    assert_eq!((&out["verdict"], &out["code"]), (&"dropped".into(), &"closed".into()));
    domain.ok(&["member", "set", "gen-hq", "--mode", "open"]);
    let out = domain.json(&["trace", "laptop=10.20.0.7", "198.51.100.7", "--json"]);
    assert_eq!((&out["verdict"], &out["code"]), (&"clear".into(), &"out-of-scope".into()));
    domain.ok(&["policy", "must-protect", "add", "198.51.100.0/24"]);
    let must = domain.json(&["trace", "laptop=10.20.0.7", "198.51.100.7", "--json"]);
    assert_eq!((&must["verdict"], &must["code"]), (&"dropped".into(), &"must-protect".into()));
    let remove = "mgmt-server policy must-protect remove 198.51.100.0/24";
    assert_eq!(must["remedies"][0]["command"], remove);
    assert!(domain.ok(&["trace", "laptop", "files"]).contains("verdict: protected"));
    assert!(domain.fails(1, &["trace", "nobody", "files"]).contains("member list"));
    assert!(domain.fails(1, &["trace", "10.0.0.1", "fd00::1"]).contains("IP versions"));
}
