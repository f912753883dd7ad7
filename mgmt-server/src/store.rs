//! What is kept, and the border behind which it is kept.
//!
//! The application works in transactions: [`Store::run`] hands a closure a [`Transaction`] and
//! commits or rolls back as the closure says. Transactions are serialisable; a store that finds a
//! conflict may run the closure again, so a closure has no effects but on its transaction. Nothing
//! here knows SQL, so that a server with several writers can take the place of the one file.

mod sqlite;
mod sqlite_rows;

pub use sqlite::SqliteStore;

use crate::keyring::Keyring;
use mgmt_api::{
    DnsName, HexBytes, IssuerStatement, Kind, Mode, Prefix, Secret, ServerAddress, Transit,
};

/// Number of a token.
pub type TokenId = HexBytes<8>;
/// Number of a member, the agent's id.
pub type MemberId = HexBytes<16>;

/// The store cannot do its work. Says nothing about keys.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// May the transaction write?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A consistent look; writers go on.
    Read,
    /// Waits for other writers first.
    Write,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Keep it, durably.
    Commit,
    /// As if it had never been.
    RollBack,
}

/// The work of one transaction.
pub type Work<'a> = dyn FnMut(&mut dyn Transaction) -> Outcome + 'a;

/// A place to keep a domain. Every method may block; call it off the network threads.
pub trait Store: Send + Sync {
    /// Runs `work` in a serialisable transaction, possibly more than once.
    ///
    /// # Errors
    /// The store cannot be read or written; nothing was changed then.
    fn run(&self, access: Access, work: &mut Work<'_>) -> Result<(), StoreError>;

    /// A number that is another one after every commit, by whichever process. Cheap.
    ///
    /// # Errors
    /// The store cannot be read.
    fn change_mark(&self) -> Result<u64, StoreError>;
}

/// Which keys: the domain's TK or a group's GK.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeyScope {
    /// TK.
    Domain,
    /// GK of the group with this number.
    Group(u32),
}

/// Address ranges that all members go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PolicyList {
    /// Destinations worth asking for an agent.
    SearchScope,
    /// Destinations never passed in clear.
    MustProtect,
}

impl PolicyList {
    /// `scope` or `must-protect`, as the command line and the audit log spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SearchScope => "scope",
            Self::MustProtect => "must-protect",
        }
    }
}

/// What was fixed when the domain was made.
#[derive(Clone, Debug)]
pub struct Domain {
    /// First 8 bytes of SHA-256 of the root key.
    pub id: HexBytes<8>,
    /// Ed25519 public key of the root.
    pub root_key: HexBytes<32>,
    /// Where to listen.
    pub listen: core::net::SocketAddr,
    /// Where agents are told to come; empty: where the server listens.
    pub advertise: Vec<ServerAddress>,
    /// Where the running server last listened: it differs from `listen` for port 0.
    pub bound: Option<core::net::SocketAddr>,
}

/// An issuing key with the root's word for it.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Ed25519 seed.
    pub seed: Secret,
    /// Public half, life and the root's signature.
    pub statement: IssuerStatement,
}

/// A group.
#[derive(Clone, Debug)]
pub struct Group {
    /// Number, from 1.
    pub id: u32,
    /// Unique.
    pub name: String,
    /// Lowest wins where two members share several groups.
    pub priority: u16,
    /// Key of the certificates' commits.
    pub commit_key: Secret,
}

/// An enrolment token.
#[derive(Clone, Debug)]
pub struct Token {
    /// Number.
    pub id: TokenId,
    /// SHA-256 of the secret; the secret itself is 256 random bits and is not kept.
    pub secret_hash: HexBytes<32>,
    /// For hosts or for routers.
    pub kind: Kind,
    /// Mode its members begin with.
    pub mode: Mode,
    /// Ranges its routers may stand for without being asked about.
    pub prefixes: Vec<Prefix>,
    /// Groups its members join.
    pub groups: Vec<u32>,
    /// Enrolments it was made for.
    pub uses: u32,
    /// Enrolments still possible.
    pub uses_left: u32,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds; of no use from here on.
    pub expires: u64,
    /// Taken back by an administrator.
    pub revoked: bool,
}

/// A certificate as it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number.
    pub serial: HexBytes<16>,
    /// Unix seconds.
    pub issued: u64,
    /// Unix seconds.
    pub expires: u64,
    /// The signed bytes.
    pub bytes: Vec<u8>,
}

/// A member, present or removed.
#[derive(Clone, Debug)]
pub struct Member {
    /// Number.
    pub id: MemberId,
    /// Unique among present members.
    pub name: String,
    /// Host or router.
    pub kind: Kind,
    /// Open or closed.
    pub mode: Mode,
    /// Ed25519 public key; unique for ever.
    pub identity_key: HexBytes<32>,
    /// X25519 public key.
    pub noise_key: HexBytes<32>,
    /// AES in hardware.
    pub aes: bool,
    /// What it lets pass while closed.
    pub transit: Transit,
    /// Prefixes an administrator certified, or allowed with the token (routers).
    pub prefixes: Vec<Prefix>,
    /// Subnets the agent offered to stand for.
    pub subnets: Vec<Prefix>,
    /// Groups, by number.
    pub groups: Vec<u32>,
    /// Token it came with.
    pub token: TokenId,
    /// Version of its view; see [`Transaction::bump`].
    pub version: u64,
    /// Unix seconds.
    pub created: u64,
    /// Unix seconds of the last request, to the minute.
    pub last_seen: u64,
    /// Unix seconds of its removal.
    pub removed: Option<u64>,
    /// Present certificate.
    pub certificate: Certificate,
}

/// Who did what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Unix seconds.
    pub time: u64,
    /// `admin uid 0`, `agent 01ab…`, `server`.
    pub actor: String,
    /// `member.remove` and the like.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// State before, as text; empty if there was none.
    pub before: String,
    /// State after, as text; empty if there is none.
    pub after: String,
}

/// Reads and writes of one transaction.
///
/// # Errors
/// Every method fails if the store cannot be read or written, or if what it holds makes no sense;
/// inserting fails if a name or number is taken.
#[allow(clippy::missing_errors_doc, reason = "said once for all, above")]
pub trait Transaction {
    /// What was fixed when the domain was made.
    fn domain(&mut self) -> Result<Domain, StoreError>;
    /// Makes or changes it.
    fn put_domain(&mut self, domain: &Domain) -> Result<(), StoreError>;

    /// Version of the whole domain: the highest version any member's view has or had.
    fn version(&mut self) -> Result<u64, StoreError>;
    /// Gives the views of `members` the next version.
    fn bump(&mut self, members: &[MemberId]) -> Result<(), StoreError>;

    /// Ranges of a list, oldest first.
    fn policy(&mut self, list: PolicyList) -> Result<Vec<Prefix>, StoreError>;
    /// Changes them.
    fn put_policy(&mut self, list: PolicyList, ranges: &[Prefix]) -> Result<(), StoreError>;

    /// Names of hosts that nobody may be talked to in clear, oldest first.
    fn must_protect_names(&mut self) -> Result<Vec<DnsName>, StoreError>;
    /// Changes them.
    fn put_must_protect_names(&mut self, names: &[DnsName]) -> Result<(), StoreError>;

    /// All issuing keys, oldest first.
    fn issuers(&mut self) -> Result<Vec<Issuer>, StoreError>;
    /// Adds one.
    fn insert_issuer(&mut self, issuer: &Issuer) -> Result<(), StoreError>;
    /// Erases one.
    fn delete_issuer(&mut self, key: &HexBytes<32>) -> Result<(), StoreError>;

    /// All groups by number.
    fn groups(&mut self) -> Result<Vec<Group>, StoreError>;
    /// Adds one.
    fn insert_group(&mut self, group: &Group) -> Result<(), StoreError>;

    /// Keys in force and next.
    fn keyring(&mut self, scope: KeyScope) -> Result<Keyring, StoreError>;
    /// Replaces them; keys no longer in the ring are erased.
    fn put_keyring(&mut self, scope: KeyScope, ring: &Keyring) -> Result<(), StoreError>;

    /// All tokens, newest first.
    fn tokens(&mut self) -> Result<Vec<Token>, StoreError>;
    /// One token.
    fn token(&mut self, id: &TokenId) -> Result<Option<Token>, StoreError>;
    /// Makes or changes one.
    fn put_token(&mut self, token: &Token) -> Result<(), StoreError>;

    /// All members, removed ones too, by creation.
    fn members(&mut self) -> Result<Vec<Member>, StoreError>;
    /// The member with this identity key.
    fn member_by_identity(&mut self, key: &HexBytes<32>) -> Result<Option<Member>, StoreError>;
    /// Makes or changes one. The version of its view is changed by [`bump`](Self::bump) alone.
    fn put_member(&mut self, member: &Member) -> Result<(), StoreError>;
    /// Notes when members were last heard of.
    fn put_last_seen(&mut self, seen: &[(MemberId, u64)]) -> Result<(), StoreError>;

    /// Appends to the audit log.
    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError>;
    /// The last `limit` entries, newest first.
    fn audit(&mut self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}
