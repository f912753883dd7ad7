//! Changes by the command line reach waiting members.

use super::support::{Agent, Domain, started};
use mgmt_api::{Bundle, ErrorCode, Mode};

/// Waits for what a command changes while the wait is already on.
async fn pushed(domain: &Domain, agent: &Agent, before: &Bundle, command: &[&str]) -> Bundle {
    let waiting = agent.next(before.version);
    let (next, _) = tokio::join!(waiting, async { domain.ok(command) });
    let next = next.unwrap();
    assert!(next.version > before.version, "{command:?}");
    next
}

fn keys(bundle: &Bundle) -> Vec<[u8; 32]> {
    let group = bundle.groups.iter().flat_map(|group| &group.keys);
    bundle.domain_keys.iter().chain(group).map(|epoch| *epoch.key.expose()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn mode_scope_and_rotation_are_pushed() {
    let (domain, running) = started();
    let agent = Agent::new(running.address, 1);
    let first = agent.enrol(&domain.token(&[])).await.unwrap();
    let id = first.agent.to_string();

    let set = ["member", "set", &id[..8], "--mode", "closed"];
    let closed = pushed(&domain, &agent, &first, &set).await;
    assert_eq!((first.mode, closed.mode), (Mode::Open, Mode::Closed));

    let add = ["policy", "scope", "add", "203.0.113.0/24"];
    let scoped = pushed(&domain, &agent, &closed, &add).await;
    assert!(scoped.search_scope.contains(&"203.0.113.0/24".parse().unwrap()));

    let add = ["policy", "must-protect", "add", "10.9.0.0/16"];
    let guarded = pushed(&domain, &agent, &scoped, &add).await;
    assert_eq!(guarded.must_protect, ["10.9.0.0/16".parse().unwrap()]);
    let remove = ["policy", "must-protect", "remove", "10.9.0.0/16"];
    let unguarded = pushed(&domain, &agent, &guarded, &remove).await;
    assert!(unguarded.must_protect.is_empty());

    let add = ["policy", "must-protect", "add", "DB.example.org."];
    let named = pushed(&domain, &agent, &unguarded, &add).await;
    assert_eq!(named.must_protect_names, ["db.example.org".parse().unwrap()]);
    let remove = ["policy", "must-protect", "remove", "db.example.org"];
    let unnamed = pushed(&domain, &agent, &named, &remove).await;
    assert!(unnamed.must_protect_names.is_empty());

    let set = ["member", "set", &id[..8], "--mode", "observe"];
    let observing = pushed(&domain, &agent, &unnamed, &set).await;
    assert_eq!((observing.mode, observing.observe), (Mode::Open, true), "old agents read open");
    let set = ["member", "set", &id[..8], "--mode", "closed"];
    let closed = pushed(&domain, &agent, &observing, &set).await;
    assert_eq!((closed.mode, closed.observe), (Mode::Closed, false));

    let rotated = pushed(&domain, &agent, &closed, &["key", "rotate", "sales"]).await;
    let epochs: Vec<u32> = rotated.groups[0].keys.iter().map(|epoch| epoch.epoch).collect();
    assert_eq!(epochs, [1, 2, 3]);
    assert_eq!(rotated.groups[0].keys[1].key.expose(), first.groups[0].keys[1].key.expose());

    let hard = pushed(&domain, &agent, &rotated, &["key", "rotate", "sales", "--hard"]).await;
    let newest = hard.groups[0].keys.last().unwrap();
    assert_eq!(newest.epoch, 5);
    assert!(!keys(&rotated).contains(newest.key.expose()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_is_out_and_the_others_get_fresh_keys() {
    let (domain, running) = started();
    let (stays, goes) = (Agent::new(running.address, 1), Agent::new(running.address, 2));
    let token = domain.token(&["--uses", "2"]);
    let before = stays.enrol(&token).await.unwrap();
    let gone = goes.enrol(&token).await.unwrap();

    let (after, refused, _) =
        tokio::join!(stays.next(before.version), goes.next(gone.version), async {
            domain.ok(&["member", "remove", &gone.name])
        },);
    let after = after.unwrap();
    assert_eq!(refused.unwrap_err(), ErrorCode::Removed);
    assert_eq!(after.revocations[0].agent, gone.agent);
    let known = keys(&gone);
    let now = after.server_time;
    for ring in [&after.domain_keys, &after.groups[0].keys] {
        let current = ring.iter().rev().find(|epoch| epoch.not_before <= now).unwrap();
        assert!(!known.contains(current.key.expose()), "the removed member knows the key");
        let old = ring.iter().filter(|epoch| known.contains(epoch.key.expose()));
        assert!(old.clone().count() > 0);
        assert!(old.into_iter().all(|epoch| epoch.not_after <= current.not_before + 5));
    }
    assert_eq!(goes.enrol(&token).await.unwrap_err(), ErrorCode::Removed);
    let fresh = domain.token(&[]);
    assert_eq!(goes.enrol(&fresh).await.unwrap_err(), ErrorCode::Removed);
    let members = domain.json(&["member", "list", "--json"]);
    assert_eq!(members["members"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_to_one_group_does_not_wake_the_others() {
    let (domain, running) = started();
    domain.ok(&["group", "create", "dev"]);
    let agent = Agent::new(running.address, 1);
    let bundle = agent.enrol(&domain.token(&[])).await.unwrap();
    domain.ok(&["key", "rotate", "dev"]);
    // Asked at once, not waiting: the member's view has the version it had.
    let (status, body) = agent.send("GET", "/v1/bundle", Vec::new()).await;
    assert_eq!(status, 200);
    let now: Bundle = serde_json::from_slice(&body).unwrap();
    assert_eq!(now.version, bundle.version);
}
