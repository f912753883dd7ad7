//! Dead agents, second agents, missing things.

use crate::agent::{Agent, MARK, PORT, Policy};
use crate::namespace::{MAC_A, Pair, pings, silent};
use crate::probe::Sniffer;
use ge_core::Mode;
use ge_runtime::error::KernelError;
use ge_runtime::hook::{Guard, Hook};
use ge_runtime::links::{self, LinkWatch};
use ge_runtime::program::Program;
use ge_runtime::tun::Tun;
use ge_runtime::udp_socket::UdpSocket;
use std::sync::Arc;

#[test]
fn a_dead_agent_in_closed_mode_lets_nothing_pass() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    let sniffer = Sniffer::open(&pair.b);
    assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.a, "fd09::2"));
    assert_eq!(sniffer.unicast_ip_from(MAC_A), 4, "the sniffer sees what leaves");
    agent.kill();
    for address in ["10.9.0.2", "fd09::2", "fe80::2%eth0"] {
        assert!(silent(&pair.a, address), "{address}");
    }
    assert_eq!(sniffer.unicast_ip_from(MAC_A), 0, "packets left a machine whose agent is dead");
    for address in ["10.9.0.1", "fd09::1", "fe80::1%eth0"] {
        assert!(silent(&pair.b, address), "{address}");
    }
    assert_eq!(sniffer.unicast_ip_from(MAC_A), 0, "answers left a machine whose agent is dead");

    // The next agent takes over what the dead one left behind, and removes it in the end.
    let agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"));
    agent.kill();
    assert!(pair.a.run(|| Hook::installed().unwrap()));
    pair.a.run(|| Hook::remove_stale().unwrap());
    pair.a.run(|| Hook::remove_stale().unwrap());
    assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"));
    assert_eq!(pair.a.sh("nft list ruleset"), "");
}

#[test]
fn a_dead_agent_in_open_mode_gives_the_machine_back() {
    let pair = Pair::new();
    let before = pair.a.sh("nft list ruleset; ip -d addr; ip route show table all");
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Drop);
    assert!(silent(&pair.a, "10.9.0.2"));
    agent.kill();
    assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"));
    assert_eq!(pair.a.sh("nft list ruleset; ip -d addr; ip route show table all"), before);
}

/// A range and a single address of either IP version; the rest of the machine's traffic goes on.
#[test]
fn a_dead_agent_in_open_mode_still_refuses_what_must_be_protected() {
    let pair = Pair::new();
    let mut agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let range = |text: &str, length| (text.parse().unwrap(), length);
    let single: Vec<std::net::IpAddr> = vec!["10.9.0.2".parse().unwrap()];
    let guards = [
        Guard { addresses: single, ranges: vec![range("fd09::", 17)], ..Guard::default() },
        Guard { ranges: vec![range("10.9.0.0", 23), range("fd09::2", 128)], ..Guard::default() },
        Guard { ranges: vec![range("0.0.0.0", 0), range("::", 0)], ..Guard::default() },
    ];
    for guard in guards {
        agent.hook.set_guard(guard.clone()).unwrap();
        let sniffer = Sniffer::open(&pair.b);
        agent.kill();
        assert!(pair.a.run(|| Hook::guards().unwrap() && !Hook::installed().unwrap()));
        for (out, back) in [("10.9.0.2", "10.9.0.1"), ("fd09::2", "fd09::1")] {
            assert!(silent(&pair.a, out) && silent(&pair.b, back), "{guard:?} {out}");
        }
        assert_eq!(sniffer.unicast_ip_from(MAC_A), 0, "{guard:?}");
        // The next agent takes the guard over as it is configured: with none there is none.
        agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
        assert!(!pair.a.run(|| Hook::guards().unwrap()));
        assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"));
    }
    let elsewhere = Guard { ranges: vec![range("10.9.1.0", 24)], ..Guard::default() };
    agent.hook.set_guard(elsewhere).unwrap();
    agent.kill();
    assert!(pings(&pair.a, "10.9.0.2") && pings(&pair.b, "fd09::1"), "not what is guarded");
    pair.a.run(|| Hook::remove_stale().unwrap());
    assert_eq!(pair.a.sh("nft list ruleset"), "");
}

#[test]
fn the_mode_at_death_counts() {
    let pair = Pair::new();
    let mut agent = Agent::start(&pair.a, Mode::Closed, Policy::Pass);
    agent.hook.set_mode(Mode::Open).unwrap();
    agent.kill();
    assert!(pings(&pair.a, "10.9.0.2"));
    let mut agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    agent.hook.set_mode(Mode::Closed).unwrap();
    agent.kill();
    assert!(silent(&pair.a, "10.9.0.2"));
}

#[test]
fn a_second_agent_is_refused_in_one_sentence() {
    for mode in [Mode::Open, Mode::Closed] {
        let pair = Pair::new();
        let agent = Agent::start(&pair.a, mode, Policy::Pass);
        let config = agent.config.clone();
        let errors = pair.a.run(move || {
            let first = UdpSocket::bind_v4(PORT, MARK, &Arc::default()).unwrap();
            let first6 = UdpSocket::bind_v6(PORT, MARK, &Arc::default()).unwrap();
            let errors = [
                Hook::install(&config).err().unwrap(),
                Hook::remove_stale().err().unwrap(),
                Tun::open("ges0", Program::Ges, &Arc::default()).err().unwrap(),
                UdpSocket::bind_v4(PORT, MARK, &Arc::default()).err().unwrap(),
                UdpSocket::bind_v6(PORT, MARK, &Arc::default()).err().unwrap(),
            ];
            drop((first, first6));
            errors
        });
        for error in errors {
            assert!(matches!(error, KernelError::AnotherAgent), "{mode:?}: {error}");
        }
        assert!(pings(&pair.a, "10.9.0.2"), "the first agent was disturbed");
        agent.stop();
    }
}

#[test]
fn no_firewall_program_takes_the_hook_away() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    pair.a.try_sh("nft flush ruleset");
    assert!(pings(&pair.a, "10.9.0.2"));
    assert_eq!(agent.count(0x0800), (2, 2));
    agent.stop();
}

#[test]
fn without_permission_the_fix_is_named() {
    let pair = Pair::new();
    let agent = Agent::start(&pair.a, Mode::Open, Policy::Pass);
    let config = agent.config.clone();
    agent.stop();
    let errors = pair.a.run(move || {
        // The thread alone loses its rights: a fresh thread in the same namespace.
        std::thread::spawn(move || {
            drop_rights();
            [
                Hook::install(&config).err().unwrap(),
                Tun::open("ges0", Program::Ges, &Arc::default()).err().unwrap(),
                UdpSocket::bind_v4(PORT, MARK, &Arc::default()).err().unwrap(),
            ]
        })
        .join()
        .unwrap()
    });
    for error in errors {
        assert!(matches!(error, KernelError::Permission { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
    }
}

#[test]
fn interfaces_are_listed_and_missing_ones_named() {
    let pair = Pair::new();
    let (links, watch) = pair.a.run(|| (links::list().unwrap(), LinkWatch::open().unwrap()));
    let eth0 = links.iter().find(|link| link.info.name == "eth0").unwrap();
    assert!(eth0.up && eth0.ethernet);
    assert_eq!((eth0.info.mac, eth0.info.mtu), (MAC_A, 1500));
    for (address, length) in [("10.9.0.1", 24), ("fd09::1", 64), ("fe80::1", 64)] {
        assert!(eth0.info.addresses.contains(&(address.parse().unwrap(), length)), "{address}");
    }
    assert!(links.iter().any(|link| link.info.name == "lo" && !link.ethernet));

    let error = pair.a.run(|| links::select(&["eth9".to_owned()]).unwrap_err().to_string());
    assert_eq!(error, "there is no interface named eth9; there are: eth0");
    let error = pair.a.run(|| links::select(&["lo".to_owned()]).unwrap_err().to_string());
    assert!(error.contains("lo is not an Ethernet interface"), "{error}");
    let error = pair.a.run(|| links::select(&[]).unwrap_err().to_string());
    assert!(error.contains("no interface has a default route"), "{error}");

    // The kernel may still tell of addresses that came before; it falls silent by itself.
    while watch.drain().unwrap() {}
    for route in ["ip route add default via 10.9.0.2", "ip -6 route add default via fd09::2"] {
        pair.a.sh(route);
        assert!(watch.drain().unwrap(), "{route} was not noticed");
        let found = pair.a.run(|| links::select(&[]).unwrap());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].name, "eth0");
        pair.a.sh(&route.replace("add", "del"));
    }
    assert!(watch.drain().unwrap());
}

/// Takes all capabilities off the calling thread.
fn drop_rights() {
    /// `_LINUX_CAPABILITY_VERSION_3`.
    const VERSION: u32 = 0x2008_0522;
    let (header, none) = ([VERSION, 0], [0_u32; 6]);
    // SAFETY: the kernel reads the two structures of `capset(2)`, eight and twenty-four bytes, from
    // live arrays of that size; process 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw const header, &raw const none) };
    assert_eq!(result, 0);
}
