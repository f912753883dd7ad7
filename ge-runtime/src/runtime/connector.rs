//! Connections of the agent itself to the management server: marked, so that the egress rule lets
//! them out, and announced to the hook by their ports before the first packet, so that the
//! answers come in.

use super::devices::{SharedHook, lock};
use crate::key_client::Connector;
use ge_core::limits::MARK;
use nix::sys::socket::{setsockopt, sockopt};
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::net::{TcpSocket, TcpStream};
use tracing::warn;

/// Makes marked connections; knows the hook once there is one.
#[derive(Clone, Default)]
pub(super) struct HookConnector {
    hook: Arc<OnceLock<SharedHook>>,
    /// The connection last announced, to be taken back before the next.
    announced: Arc<Mutex<Option<(SocketAddr, u16)>>>,
}

impl HookConnector {
    /// From here on connections are announced to `hook`.
    pub(super) fn use_hook(&self, hook: SharedHook) {
        // Set once per run; a second call would be the same hook.
        let _ = self.hook.set(hook);
    }

    /// One for connections that stand beside this one's, under the same hook.
    pub(super) fn beside(&self) -> Self {
        Self { hook: Arc::clone(&self.hook), announced: Arc::default() }
    }

    fn announce(&self, remote: SocketAddr, local_port: u16) -> io::Result<()> {
        let Some(shared) = self.hook.get() else { return Ok(()) };
        let mut guard = lock(shared);
        let Some(hook) = guard.as_mut() else { return Ok(()) };
        let mut announced =
            self.announced.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((remote, port)) = announced.take()
            && let Err(error) = hook.remove_own(remote, port)
        {
            warn!(%error, "an old connection of our own is still let through");
        }
        hook.add_own(remote, local_port).map_err(io::Error::other)?;
        *announced = Some((remote, local_port));
        Ok(())
    }

    async fn open(&self, remote: SocketAddr) -> io::Result<TcpStream> {
        let (socket, any): (_, IpAddr) = match remote {
            SocketAddr::V4(_) => (TcpSocket::new_v4()?, Ipv4Addr::UNSPECIFIED.into()),
            SocketAddr::V6(_) => (TcpSocket::new_v6()?, Ipv6Addr::UNSPECIFIED.into()),
        };
        setsockopt(&socket, sockopt::Mark, &MARK)?;
        // Bound first: the port must be known before the first answer can come.
        socket.bind(SocketAddr::new(any, 0))?;
        self.announce(remote, socket.local_addr()?.port())?;
        socket.connect(remote).await
    }
}

impl Connector for HookConnector {
    fn connect(
        &self,
        to: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(self.open(to))
    }
}
