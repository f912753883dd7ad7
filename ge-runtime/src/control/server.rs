//! The agent's end of the control socket.
//!
//! Strangers are told so and hung up on before a byte of theirs is read; everyone else gets one
//! of a bounded number of places, a bounded line and a bounded time. What is not a request changes
//! nothing and ends the connection.

use super::console::Console;
use super::credentials::{Access, Peer, group_id};
use super::follow;
use super::protocol::{Answer, REQUEST_MAX, Refusal, Request, parse_request};
use super::socket::ControlSocket;
use crate::exit::Exit;
use crate::program::Program;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::{debug, info, warn};

/// Connections served at once; people and scripts of one host need a handful.
const CONNECTIONS: usize = 32;
/// A connection that asks nothing for this long is closed. `ges ping` asks once a second.
const IDLE: Duration = Duration::from_secs(30);
/// A peer that does not read its answer for this long is hung up on.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// Pause after a failed accept, so that a full descriptor table does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `socket` until the task is dropped; then the file goes too.
pub async fn serve(socket: ControlSocket, console: Console) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener.try_clone()?)?;
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let own_uid = nix::unistd::geteuid().as_raw();
    let program = socket.program;
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "accept on the control socket failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let access = match Peer::of(&stream) {
            Ok(peer) => peer.access(own_uid, group_id(program)),
            Err(_) => Access::None,
        };
        if access == Access::None {
            turn_away(&stream, Refusal::new(Exit::Refused, stranger(program)));
            continue;
        }
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let message = "too many programs are asking the agent at once; try again";
            turn_away(&stream, Refusal::new(Exit::TimedOut, message));
            continue;
        };
        let console = console.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, &console, access).await {
                debug!(%error, "a control connection ended early");
            }
            drop(place);
        });
    }
}

/// What a peer without access is told.
pub(super) fn stranger(program: Program) -> String {
    let group = program.name();
    format!("only root, the agent's own user and members of the group {group} may ask the agent")
}

/// Tells a peer why it is not served. One attempt: a new connection's buffer has room for it.
fn turn_away(stream: &UnixStream, refusal: Refusal) {
    let _ = stream.try_write(&line(&Answer::Refused(refusal)));
}

async fn converse(stream: UnixStream, console: &Console, access: Access) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        // One byte more than allowed, so that a line that is too long is seen to be.
        let mut limited = (&mut reader).take(REQUEST_MAX as u64 + 1);
        timeout(IDLE, limited.read_until(b'\n', &mut buffer)).await??;
        if buffer.is_empty() {
            return Ok(());
        }
        let request = match parse_request(&buffer) {
            Ok(request) => request,
            Err(error) => {
                let refusal = Refusal::new(Exit::Usage, error.to_string());
                return send(&mut writer, &Answer::Refused(refusal)).await;
            }
        };
        if let Request::Follow { verdict } = request {
            let changes = match console.follow() {
                Ok(changes) => changes,
                Err(refusal) => return send(&mut writer, &Answer::Refused(refusal)).await,
            };
            send(&mut writer, &Answer::Following {}).await?;
            return follow::tell(changes, verdict, &mut reader, &mut writer).await;
        }
        let stopping = matches!(request, Request::Stop {});
        let answer = console.answer(request, access).await;
        send(&mut writer, &answer).await?;
        if stopping && matches!(answer, Answer::Stopping {}) {
            info!("asked to stop over the control socket");
            // The peer waits for the end of file, which must mean that the agent is gone.
            std::future::pending::<()>().await;
        }
    }
}

pub(super) async fn send(
    writer: &mut (impl AsyncWriteExt + Unpin),
    answer: &Answer,
) -> io::Result<()> {
    timeout(WRITE_PATIENCE, writer.write_all(&line(answer))).await?
}

fn line(answer: &Answer) -> Vec<u8> {
    let mut bytes = serde_json::to_vec(answer)
        .expect("invariant: answers hold strings and numbers, which JSON can write");
    bytes.push(b'\n');
    bytes
}
