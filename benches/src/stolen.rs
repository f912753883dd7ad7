//! Requests that are right in everything but where they say they come from: what somebody with the keys
//! of a member sends.
//!
//! `benches requests STATE TO COUNT` writes them for `cargo xtask bench flood`, made with the keys in
//! an agent's state directory: `length 2 | IPv4 packet`, again and again.

use anyhow::{Context, Result, bail};
use ge_core::addr::WireAddr;
use ge_core::crypto::Rng;
use ge_core::crypto::x25519::KeyPair;
use ge_core::dprp::{Binding, Initiator, Proposal, Purpose, SessionParameters};
use ge_core::flow::{HostPair, Ports};
use ge_core::keyring::Keyring;
use ge_core::wire::icmp::emit_echo;
use ge_core::wire::ip::{HEADER_MAX, emit_header};
use ge_core::wire::protocol;
use ge_core::{Mode, SessionIndex, UnixTime};
use ge_runtime::key_client::{KeyClient, Resumed};
use ge_runtime::state_dir::StateDir;
use rand_core::SeedableRng as _;
use std::future::ready;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// The `n`th forged source.
pub(crate) fn spoofed(n: u32) -> IpAddr {
    Ipv4Addr::from(0x0a63_0000 + n).into()
}

/// Somebody with the keys of a member.
pub(crate) struct Spoofer {
    keyring: Keyring,
    rng: Rng,
    unix: UnixTime,
}

impl Spoofer {
    pub(crate) fn new(keyring: Keyring, unix: UnixTime) -> Self {
        Self { keyring, rng: Rng::seed_from_u64(5), unix }
    }

    /// A DDE in an echo request in the name of `from`, as an IP packet.
    pub(crate) fn request(&mut self, from: IpAddr, to: IpAddr) -> Result<Vec<u8>> {
        let (pair, ports) = (HostPair::new(from, to), Ports::default());
        let (mode, purpose) = (Mode::Closed, Purpose::Protect);
        let proposal = Proposal { pair, ports, mode, router: false, purpose };
        let (index, wire) = (SessionIndex(5), WireAddr(from));
        let parameters = SessionParameters { index, data_port: 5865, wire };
        let Self { keyring, rng, unix } = self;
        let ephemeral = KeyPair::generate(rng);
        let (_, dde) = Initiator::create_dde(
            keyring,
            &proposal,
            Binding::Fresh,
            parameters,
            ephemeral,
            rng,
            *unix,
        )?;
        let icmp = emit_echo(true, 7, 1, &dde, from, to);
        let mut header = [0; HEADER_MAX];
        let len = emit_header(&mut header, from, to, protocol::ICMP, icmp.len(), 0, 64);
        Ok([&header[..len], &icmp].concat())
    }
}

/// Writes requests to standard output.
pub(crate) fn write(state: &str, to: &str, count: &str) -> Result<()> {
    let (to, count): (IpAddr, u32) = (to.parse()?, count.parse()?);
    let state = StateDir::open(Path::new(state))?;
    let identity = state.identity()?;
    let nobody = Arc::new(|_| ready(Err(io::Error::other("no connection is made"))));
    let Resumed::Enrolled(_, Some(membership)) = KeyClient::resume(state, false, nobody)? else {
        bail!("there is no membership in this state directory");
    };
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock")?.as_secs();
    let mut spoofer = Spoofer::new(Keyring::new(&identity, &membership)?, UnixTime(unix));
    let mut out = io::stdout().lock();
    for n in 0..count {
        let packet = spoofer.request(spoofed(n), to)?;
        out.write_all(&(packet.len() as u16).to_be_bytes())?;
        out.write_all(&packet)?;
    }
    Ok(out.flush()?)
}
