//! The data directory.
//!
//! ```text
//! DIR/           0700
//!   mgmt.db      0600  the domain; made last, so it is there only if all else is
//!   root.key     0600  Ed25519 root key (PKCS #8 PEM); belongs offline after `init`
//!   tls.key      0600  TLS key (PKCS #8 PEM); its fingerprint is in every token
//!   tls.crt      0600  self-signed certificate for it
//!   run.lock     0600  held by the running server
//! ```

use crate::app::{Act, App, Error, NewDomain};
use crate::random;
use crate::store::{SqliteStore, StoreError};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use core::net::SocketAddr;
use ed25519_dalek::SigningKey;
use mgmt_api::{ServerAddress, path};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zeroize::Zeroizing;

const DATABASE: &str = "mgmt.db";
const UNFINISHED: &str = "mgmt.db.new";
const ROOT_KEY: &str = "root.key";
const TLS_KEY: &str = "tls.key";
const TLS_CERTIFICATE: &str = "tls.crt";
const LOCK: &str = "run.lock";

/// What precedes the 32-byte seed in an Ed25519 PKCS #8 key (RFC 8410 7).
const ED25519_PKCS8: [u8; 16] =
    [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A data directory that holds a domain.
#[derive(Clone, Debug)]
pub struct DataDir(PathBuf);

impl DataDir {
    /// Makes a domain in `dir`, which must not exist or be empty. An `init` that was interrupted
    /// is simply repeated.
    ///
    /// # Errors
    /// There is something in `dir`; it cannot be written; no randomness.
    pub fn init(
        dir: &Path,
        listen: SocketAddr,
        advertise: Vec<ServerAddress>,
        act: Act<'_>,
    ) -> Result<Self, Error> {
        if listen.ip().is_unspecified() && advertise.is_empty() {
            return Err(Error::Unfit(format!(
                "{listen} means every address; say where agents reach the server with \
                 --advertise HOST:PORT"
            )));
        }
        prepare(dir)?;
        let data = Self(dir.to_owned());
        data.write_tls()?;
        let root = SigningKey::from_bytes(&Zeroizing::new(random::bytes()?));
        write_private(&data.file(ROOT_KEY), ed25519_pem(&root).as_bytes())?;
        let unfinished = data.file(UNFINISHED);
        {
            let app = App::new(Arc::new(SqliteStore::create(&unfinished)?));
            app.create_domain(act, &NewDomain { root: &root, listen, advertise })?;
        }
        fs::set_permissions(&unfinished, Permissions::from_mode(0o600))
            .and_then(|()| File::open(&unfinished)?.sync_all())
            .and_then(|()| fs::rename(&unfinished, data.file(DATABASE)))
            .and_then(|()| File::open(dir)?.sync_all())
            .map_err(|err| cannot("finish", dir, &err))?;
        Ok(data)
    }

    /// Opens a directory that `init` made.
    ///
    /// # Errors
    /// There is no domain in it.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        match fs::metadata(dir.join(DATABASE)) {
            Ok(_) => Ok(Self(dir.to_owned())),
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => Err(Error::Unfit(format!(
                "there is no domain in {0}; make one with `mgmt-server init --data {0} --listen \
                 IP:PORT`",
                dir.display()
            ))),
            Err(err) => Err(cannot("read", dir, &err)),
        }
    }

    /// The application over the domain in it.
    ///
    /// # Errors
    /// The database cannot be opened.
    pub fn app(&self) -> Result<App, Error> {
        Ok(App::new(Arc::new(SqliteStore::open(&self.file(DATABASE))?)))
    }

    /// TLS certificate and key.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn tls(&self) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>), Error> {
        let unreadable = |name: &str, err: rustls::pki_types::pem::Error| {
            Error::Unfit(format!(
                "cannot read {}: {err}; restore it from a backup (a new one would make every \
                 agent enrol again)",
                self.file(name).display()
            ))
        };
        let certificate = CertificateDer::from_pem_file(self.file(TLS_CERTIFICATE))
            .map_err(|err| unreadable(TLS_CERTIFICATE, err))?;
        let key = PrivateKeyDer::from_pem_file(self.file(TLS_KEY))
            .map_err(|err| unreadable(TLS_KEY, err))?;
        Ok((certificate, key))
    }

    /// The root key, if it is still in the directory.
    ///
    /// # Errors
    /// It is there but cannot be read.
    pub fn root_key(&self) -> Result<Option<SigningKey>, Error> {
        let path = self.file(ROOT_KEY);
        if path.exists() { read_root_key(&path).map(Some) } else { Ok(None) }
    }

    /// Makes sure that one server at most runs on the directory; hold on to the file.
    ///
    /// # Errors
    /// Another server runs.
    pub fn lock(&self) -> Result<File, Error> {
        let path = self.file(LOCK);
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|err| cannot("open", &path, &err))?;
        file.try_lock().map_err(|_| {
            Error::Unfit(format!(
                "a server runs on {} already; stop it first, or give another --data",
                self.0.display()
            ))
        })?;
        Ok(file)
    }

    fn write_tls(&self) -> Result<(), Error> {
        let failed = |err: rcgen::Error| Error::Unfit(format!("cannot make a TLS key: {err}"));
        // P-256 and not Ed25519, so that browsers can come to the same port one day.
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let params =
            rcgen::CertificateParams::new(vec![path::TLS_NAME.to_owned()]).map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        write_private(&self.file(TLS_KEY), Zeroizing::new(key.serialize_pem()).as_bytes())?;
        write_private(&self.file(TLS_CERTIFICATE), certificate.pem().as_bytes())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// Reads a root key that `init` wrote.
///
/// # Errors
/// It is not there, or not one.
pub fn read_root_key(path: &Path) -> Result<SigningKey, Error> {
    let not_one = || {
        Error::Unfit(format!("{} is not a root key; give the root.key `init` made", path.display()))
    };
    let pem = Zeroizing::new(fs::read(path).map_err(|err| cannot("read", path, &err))?);
    let der = PrivatePkcs8KeyDer::from_pem_slice(&pem).map_err(|_| not_one())?;
    let seed = der.secret_pkcs8_der().strip_prefix(&ED25519_PKCS8).ok_or_else(not_one)?;
    Ok(SigningKey::from_bytes(seed.try_into().map_err(|_| not_one())?))
}

/// Makes `dir` if need be, with mode 0700, and clears what an interrupted `init` left.
fn prepare(dir: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|err| cannot("make", dir, &err))?;
    if dir.join(DATABASE).exists() {
        return Err(Error::Unfit(format!(
            "there is a domain in {} already; use it with `run`, or give another --data",
            dir.display()
        )));
    }
    let ours = [ROOT_KEY, TLS_KEY, TLS_CERTIFICATE];
    for entry in fs::read_dir(dir).map_err(|err| cannot("read", dir, &err))? {
        let entry = entry.map_err(|err| cannot("read", dir, &err))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if !ours.contains(&&*name) && !name.starts_with(UNFINISHED) {
            return Err(Error::Unfit(format!(
                "{} is not empty ({name} is in it); give an empty or new directory",
                dir.display()
            )));
        }
        fs::remove_file(entry.path()).map_err(|err| cannot("clear", &entry.path(), &err))?;
    }
    fs::set_permissions(dir, Permissions::from_mode(0o700))
        .map_err(|err| cannot("protect", dir, &err))
}

fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        })
        .map_err(|err| cannot("write", path, &err))
}

fn ed25519_pem(key: &SigningKey) -> Zeroizing<String> {
    let mut der = Zeroizing::new(ED25519_PKCS8.to_vec());
    der.extend_from_slice(&Zeroizing::new(key.to_bytes())[..]);
    let body = Zeroizing::new(STANDARD.encode(&der[..]));
    Zeroizing::new(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", *body))
}

fn cannot(what: &str, path: &Path, err: &std::io::Error) -> Error {
    Error::Store(StoreError(format!("cannot {what} {}: {err}", path.display())))
}
