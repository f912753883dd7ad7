//! How a TCP connection to the server comes about.

use core::future::Future;
use core::net::SocketAddr;
use core::pin::Pin;
use std::io;
use tokio::net::TcpStream;

/// Makes the TCP connection. The agent marks and binds the socket and tells the packet hook about
/// it first, because its own control traffic must not wait for a verdict it is needed for.
pub trait Connector: Send + Sync {
    /// Connects to `to`.
    ///
    /// # Errors
    /// What the operating system said.
    fn connect(
        &self,
        to: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>>;
}

impl<F, R> Connector for F
where
    F: Fn(SocketAddr) -> R + Send + Sync,
    R: Future<Output = io::Result<TcpStream>> + Send + 'static,
{
    fn connect(
        &self,
        to: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send + '_>> {
        Box::pin(self(to))
    }
}
