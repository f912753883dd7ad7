//! Asking the server who is who, beside the connection that follows it.

use super::{Connector, KeyClient, KeyClientError, connect_any, tls};
use core::time::Duration;
use mgmt_api::{ServerAddress, WhoAnswer, WhoRequest, path};
use std::io;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// Longest wait for names: a person waits, and the answer is good without them.
const PATIENCE: Duration = Duration::from_secs(3);

/// Names and groups of other members, as far as the server tells them. Cheap to clone.
#[derive(Clone)]
pub struct Directory {
    servers: Arc<[ServerAddress]>,
    tls: tls::Config,
    /// One question at a time: the hook knows one connection of each connector.
    connector: Arc<Mutex<Arc<dyn Connector>>>,
}

impl KeyClient {
    /// A directory that connects by `connector`, which must not be the one that follows.
    ///
    /// # Errors
    /// The identity cannot be used for TLS.
    pub fn directory(&self, connector: Arc<dyn Connector>) -> Result<Directory, KeyClientError> {
        Ok(Directory {
            servers: self.enrolment.servers.clone().into(),
            tls: tls::client_config(&self.identity, self.enrolment.fingerprint)?,
            connector: Arc::new(Mutex::new(connector)),
        })
    }
}

impl Directory {
    /// What may be known of these agents.
    ///
    /// # Errors
    /// The server refused, cannot be reached or cannot be believed.
    pub async fn who(&self, request: &WhoRequest) -> Result<WhoAnswer, KeyClientError> {
        let asking = async {
            let connector = self.connector.lock().await;
            let mut connection = connect_any(&self.servers, &self.tls, &**connector).await?;
            connection.post(path::WHO, request).await
        };
        timeout(PATIENCE, asking).await.unwrap_or_else(|_| Err(self.too_late()))
    }

    fn too_late(&self) -> KeyClientError {
        let cause = io::Error::other(format!("no answer within {} s", PATIENCE.as_secs()));
        match self.servers.first() {
            Some(server) => {
                KeyClientError::Unreachable { server: server.clone(), cause: cause.to_string() }
            }
            None => KeyClientError::Identity("no server is known".into()),
        }
    }
}
