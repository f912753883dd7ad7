//! `init` and `run`.

use super::output::print;
use super::{act, open};
use crate::app::Error;
use crate::cli::{Init, Run};
use crate::data_dir::DataDir;
use crate::serve::{Server, system_clock};
use core::net::SocketAddr;
use sd_notify::NotifyState;
use std::io;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

pub(crate) fn init(args: &Init) -> Result<(), Error> {
    act(|act| DataDir::init(&args.data.dir, args.listen, args.advertise.clone(), act))?;
    let dir = args.data.dir.display();
    print(&format!(
        "The domain is in {dir}.\n\
         Move {dir}/root.key to a place that is offline: it is needed again once a month, for\n\
         `mgmt-server key issue --data {dir} --root-key FILE`. Who has it can make members.\n\
         Next: `mgmt-server run --data {dir}` and `mgmt-server group create NAME --data {dir}`."
    ))
}

pub(crate) fn run(args: &Run) -> Result<(), Error> {
    let data = DataDir::open(&args.data.dir)?;
    let _lock = data.lock()?;
    let listen = open(&args.data)?.domain()?.listen;
    let server = Server::new(data, system_clock())?;
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|err| Error::Unfit(format!("cannot start threads: {err}")))?;
    let metrics = args.metrics;
    runtime.block_on(async move {
        let listener = bind(listen).await?;
        let metrics = match metrics {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let failed = |err: io::Error| Error::Unfit(format!("cannot wait for signals: {err}"));
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let ready = async move {
            print(&format!("listening on {bound}"))?;
            // Without systemd there is nobody to tell.
            let _ = sd_notify::notify(&[NotifyState::Ready]);
            Ok(())
        };
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        server.run(listener, metrics, ready, stop).await
    })
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|err| {
        Error::Unfit(match err.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program listens on {address} already; stop it or choose another port"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("{address} is not an address of this machine; see `ip address`")
            }
            io::ErrorKind::PermissionDenied => format!(
                "no permission to listen on {address}; use a port above 1023 or run as root"
            ),
            _ => format!("cannot listen on {address}: {err}"),
        })
    })
}

fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("MGMT_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).init();
}
