//! What two agents agree on when nobody interferes.

use crate::domain::{Domain, Member, NOW, parameters, proposal, rng};
use crate::run::Run;
use ge_core::cert::CertRole;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Binding, CreateError, Initiator, Reject, consume_dde};
use ge_core::flow::HostPair;
use ge_core::id::{Epoch, GroupId, SessionIndex};
use ge_core::mode::Prefix;
use ge_core::traffic::AeadKind;
use ge_core::wire::dprp::{Kind, peek};
use ge_core::{GeId, Mode, Role};

#[test]
fn both_ends_agree() {
    let mut run = Run::pair();
    let done = run.finish().unwrap();
    let (i, r) = (&done.agreed_i, &done.agreed_r);
    assert_eq!((i.group, i.epoch), (GroupId(1), Epoch(5)));
    assert_eq!((r.group, r.epoch), (i.group, i.epoch));
    assert_eq!((i.peer.agent, r.peer.agent), (GeId([2; 16]), GeId([1; 16])));
    assert_eq!(i.peer_parameters, parameters(22));
    assert_eq!(r.peer_parameters, parameters(11));
    assert_eq!((i.aead, r.aead), (AeadKind::Aes256Gcm, AeadKind::Aes256Gcm));
    assert_eq!(i.send.0, r.receive.0);
    assert_eq!(i.receive.0, r.send.0);
    assert_ne!(i.send.0, i.receive.0);
    assert_eq!(i.handshake_hash, r.handshake_hash);
}

#[test]
fn sizes_and_headers() {
    let done = Run::pair().finish().unwrap();
    let messages = [
        (&done.dde, Kind::Dde, 416),
        (&done.rgi, Kind::Rgi, 784),
        (&done.mpit, Kind::Mpit, 750),
        (&done.cdn, Kind::Cdn, 538),
    ];
    for (message, kind, length) in messages {
        let header = peek(message).unwrap();
        assert_eq!((header.kind, message.len()), (kind, length));
        assert_eq!(header.sid_i, done.initiator.id());
        assert_eq!(header.kind.is_request(), matches!(kind, Kind::Dde | Kind::Mpit));
    }
    assert_eq!(peek(&done.dde).unwrap().sid_r, ge_core::NegotiationId::default());
}

#[test]
fn traffic_flows_under_the_agreed_secrets() {
    use ge_core::shim;
    use ge_core::traffic::{Opener, Sealer};
    let done = Run::pair().finish().unwrap();
    let (i, r) = (&done.agreed_i, &done.agreed_r);
    for (from, to) in [(i, r), (r, i)] {
        let mut sealer = Sealer::new(&from.send, from.aead, from.peer_parameters.index);
        let mut opener = Opener::new(&to.receive, to.aead);
        let mut slot = [7; 100];
        sealer.seal(shim::Kind::Tunnel, false, &mut slot).unwrap();
        let opened = opener.open(&mut slot).unwrap();
        assert_eq!(slot[opened.plaintext], [7; 76]);
    }
}

#[test]
fn nobody_can_read_who_talks_about_what() {
    let done = Run::pair().finish().unwrap();
    let secrets: [&[u8]; 4] = [&[1; 16], &[2; 16], &[192, 0, 2, 1], &[192, 0, 2, 2]];
    for message in [&done.dde, &done.rgi, &done.mpit, &done.cdn] {
        for secret in secrets {
            assert!(!message.windows(secret.len()).any(|window| window == secret));
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let (one, other) = (Run::pair().finish().unwrap(), Run::pair().finish().unwrap());
    assert_eq!((one.dde, one.rgi), (other.dde, other.rgi));
    assert_eq!((one.mpit, one.cdn), (other.mpit, other.cdn));
    assert_eq!(one.agreed_i.handshake_hash, other.agreed_r.handshake_hash);
    let mut run = Run::pair();
    run.rng = rng(2);
    let another = run.finish().unwrap();
    assert_ne!(one.agreed_i.send.0, another.agreed_i.send.0);
    assert_ne!(one.agreed_i.handshake_hash, another.agreed_i.handshake_hash);
}

#[test]
fn of_several_common_groups_the_policys_first_wins() {
    let domain = Domain::new(1);
    let cases: &[(&[u32], &[u32], &[(u32, u16)], u32)] = &[
        (&[1, 2, 3], &[3, 2, 1], &[], 1),
        (&[2, 3, 9], &[1, 3, 2], &[], 2),
        (&[1, 2, 3], &[1, 2, 3], &[(3, 10)], 3),
        (&[1, 2, 3], &[1, 2, 3], &[(3, 10), (2, 10)], 2),
        (&[1, 2, 3], &[1, 2, 3], &[(1, 200)], 2),
        (&[1, 2, 3, 4, 5, 6, 7, 8], &[8], &[], 8),
    ];
    for (own_i, own_r, priorities, chosen) in cases {
        let (mut i, mut r) = (domain.member(1, own_i), domain.member(2, own_r));
        prefer(&mut i, priorities);
        prefer(&mut r, priorities);
        let done = Run::new(&i, &r).finish().unwrap();
        assert_eq!(done.agreed_i.group, GroupId(*chosen), "{own_i:?} {own_r:?} {priorities:?}");
        assert_eq!(done.agreed_r.group, GroupId(*chosen));
    }
}

/// The priorities of a policy; 100 where it names none.
fn prefer(member: &mut Member, priorities: &[(u32, u16)]) {
    for group in &mut member.membership.groups {
        let changed = priorities.iter().find(|(id, _)| GroupId(*id) == group.id);
        group.priority = changed.map_or(100, |(_, priority)| *priority);
    }
}

#[test]
fn responder_cannot_choose_a_less_preferred_group() {
    let domain = Domain::new(1);
    let i = domain.member(1, &[1, 2, 3]);
    for (own_r, prefers, accepted) in [(&[1, 2], 2, false), (&[2, 3], 3, false), (&[1, 2], 1, true)]
    {
        let mut r = domain.member(2, own_r);
        prefer(&mut r, &[(prefers, 10)]);
        let refused = Reject::Misbehaved("the RGI has not the most preferred common group");
        let done = Run::new(&i, &r).finish().map(|done| done.agreed_i.group);
        let expected = if accepted { Ok(GroupId(prefers)) } else { Err(refused) };
        assert_eq!(done, expected, "{own_r:?}");
    }
}

#[test]
fn common_groups_are_all_named_in_order() {
    let domain = Domain::new(1);
    let mut run = Run::new(&domain.member(1, &[5, 1, 4]), &domain.member(2, &[4, 5, 6]));
    let (_, dde) = run.dde();
    let received = consume_dde(&run.r, &dde, Binding::Fresh, NOW).unwrap();
    assert_eq!(received.common_groups(), [(GroupId(4), Epoch(5)), (GroupId(5), Epoch(5))]);
    assert_eq!(received.proposal, proposal());
    assert_eq!(received.timestamp, NOW);
}

#[test]
fn without_aes_at_one_end_traffic_is_chacha() {
    let domain = Domain::new(1);
    for (aes_i, aes_r) in [(true, false), (false, true), (false, false)] {
        let (mut i, mut r) = (domain.member(1, &[1]), domain.member(2, &[1]));
        domain.issue(&mut i, |certificate| certificate.aes = aes_i);
        domain.issue(&mut r, |certificate| certificate.aes = aes_r);
        let done = Run::new(&i, &r).finish().unwrap();
        assert_eq!(done.agreed_i.aead, AeadKind::ChaCha20Poly1305);
        assert_eq!(done.agreed_r.aead, AeadKind::ChaCha20Poly1305);
    }
}

#[test]
fn modes_are_told() {
    let domain = Domain::new(1);
    let (mut i, mut r) = (domain.member(1, &[1]), domain.member(2, &[1]));
    r.membership.mode = Mode::Closed;
    let done = Run::new(&i, &r).finish().unwrap();
    assert_eq!((done.agreed_i.peer_mode, done.agreed_r.peer_mode), (Mode::Closed, Mode::Open));
    i.membership.mode = Mode::Closed;
    let mut run = Run::new(&i, &r);
    run.proposal.mode = Mode::Closed;
    assert_eq!(run.finish().unwrap().agreed_r.peer_mode, Mode::Closed);
}

#[test]
fn a_router_stands_for_its_prefixes_only() {
    let domain = Domain::new(1);
    let prefix = |text: &str| Prefix { address: text.parse().unwrap(), length: 24 };
    let router = |number, inside: &str| {
        let mut member = domain.member(number, &[1]);
        member.membership.role = Role::Router { prefixes: vec![prefix(inside)] };
        domain.issue(&mut member, |certificate| {
            certificate.role = CertRole::Router;
            certificate.prefixes = vec![prefix(inside)];
        });
        member
    };
    let host = domain.member(1, &[1]);
    let answers = |router| Run { answers_as_router: true, ..Run::new(&host, &router) };
    assert!(answers(router(2, "192.0.2.0")).finish().is_ok());
    let outside = answers(router(2, "198.51.100.0")).finish().err();
    assert!(matches!(outside, Some(Reject::Misbehaved(_))), "{outside:?}");

    let mut run = Run::new(&router(2, "192.0.2.0"), &host);
    run.proposal.router = true;
    assert!(run.finish().is_ok());
    let mut run = Run::new(&router(2, "198.51.100.0"), &host);
    run.proposal.router = true;
    assert!(matches!(run.finish().err(), Some(Reject::Misbehaved(_))));
    // A router's own traffic is a host's, outside its prefixes too; a host is never a router.
    assert!(Run::new(&router(2, "198.51.100.0"), &host).finish().is_ok());
    let mut run = Run::new(&domain.member(2, &[1]), &host);
    run.proposal.router = true;
    assert!(matches!(run.finish().err(), Some(Reject::Misbehaved(_))));
}

#[test]
fn ipv6_flows() {
    let mut run = Run::pair();
    run.proposal.pair =
        HostPair::new("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
    let (_, dde) = run.dde();
    let received = consume_dde(&run.r, &dde, Binding::Fresh, NOW).unwrap();
    assert_eq!(received.proposal, run.proposal);
    assert!(run.finish().is_ok());
}

#[test]
fn rekey_needs_the_old_session_at_both_ends() {
    let mut run = Run::pair();
    let previous = run.finish().unwrap().agreed_i.handshake_hash;
    run.binding = Binding::Rekey { previous };
    let renewed = run.finish().unwrap();
    assert_ne!(renewed.agreed_i.handshake_hash, previous);
    let others = [Binding::Fresh, Binding::Rekey { previous: [1; 32] }];
    for other in others {
        let (_, dde) = run.dde();
        let refused = consume_dde(&run.r, &dde, other, NOW).err();
        assert_eq!(refused, Some(Reject::BadSeal("DDE")), "{other:?}");
    }
    run.binding = Binding::Fresh;
    let (_, dde) = run.dde();
    let rekey = Binding::Rekey { previous };
    assert!(consume_dde(&run.r, &dde, rekey, NOW).is_err());
}

#[test]
fn what_cannot_be_negotiated_is_said_at_once() {
    let domain = Domain::new(1);
    let member = domain.member(1, &[1]);
    let create = |member: &Member, change: &dyn Fn(&mut Run), index: u32| {
        let mut run = Run::new(member, &domain.member(2, &[1]));
        change(&mut run);
        let binding = run.binding;
        let parameters = parameters(index);
        Initiator::create_dde(
            &run.i,
            &run.proposal,
            binding,
            parameters,
            KeyPair::generate(&mut run.rng),
            &mut run.rng,
            run.unix,
        )
        .err()
    };
    let same = |_: &mut Run| ();
    assert_eq!(create(&member, &same, 1), None);
    assert_eq!(create(&member, &same, 0xff_ffff), None);
    assert_eq!(create(&member, &same, 0), Some(CreateError::Parameters));
    assert_eq!(create(&member, &same, 1 << 24), Some(CreateError::Parameters));
    assert_eq!(create(&domain.member(1, &[]), &same, 1), Some(CreateError::NoGroupKey));
    let mixed = |run: &mut Run| {
        run.proposal.pair = HostPair::new([10, 0, 0, 1].into(), "::1".parse().unwrap());
    };
    assert_eq!(create(&member, &mixed, 1), Some(CreateError::MixedFamilies));
    let late = |run: &mut Run| run.unix = NOW.plus(10 * 86_400);
    assert_eq!(create(&member, &late, 1), Some(CreateError::NoDomainKey));
    let mut expired = domain.member(1, &[1]);
    domain.issue(&mut expired, |certificate| certificate.not_after = NOW);
    assert_eq!(create(&expired, &same, 1), Some(CreateError::Certificate));
    assert_eq!(parameters(3).index, SessionIndex(3));
}

#[test]
fn repeated_messages_after_success_change_nothing() {
    let mut run = Run::pair();
    let (mut initiator, dde) = run.dde();
    // Two answers to one DDE (it was repeated): each is its own negotiation at the responder.
    let (mut first, rgi) = run.rgi(&dde).unwrap();
    let (second, other_rgi) = run.rgi(&dde).unwrap();
    assert_ne!((first.id(), &rgi), (second.id(), &other_rgi));
    assert_eq!(first.ephemeral(), initiator.ephemeral());
    let (_, mpit) = run.mpit(&mut initiator, &rgi).unwrap();
    for again in [&rgi, &other_rgi] {
        assert_eq!(run.mpit(&mut initiator, again).err(), Some(Reject::Unexpected));
    }
    let (_, cdn) = run.cdn(&mut first, &mpit).unwrap();
    assert_eq!(run.cdn(&mut first, &mpit).err(), Some(Reject::Unexpected));
    for _ in 0..2 {
        assert_eq!(initiator.consume_cdn(&run.i, &cdn, NOW), Ok(()));
    }
    let mut second = second;
    assert_eq!(run.cdn(&mut second, &mpit).err(), Some(Reject::Unexpected));
}
