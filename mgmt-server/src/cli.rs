//! The command line: nouns with verbs, `--data DIR` everywhere, no secret as an argument.

use crate::app::Error;
use crate::command::must_protect::Destination;
use crate::command::{audit, domain, group, key, member, must_protect, policy, token};
use crate::store::PolicyList;
use clap::{Args, Parser, Subcommand, ValueEnum};
use core::net::SocketAddr;
use core::time::Duration;
use mgmt_api::{Kind, Mode, Prefix, ServerAddress, Transit};
use std::path::PathBuf;

/// Groups, keys and modes of one domain.
///
/// Exit codes: 0 as asked, 1 not done (one sentence on standard error says why), 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "mgmt-server", version)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Where the domain is kept.
#[derive(Clone, Debug, Args)]
pub(crate) struct Data {
    /// Data directory
    #[arg(long = "data", value_name = "DIR", env = "MGMT_DATA")]
    pub(crate) dir: PathBuf,
}

/// How a list is printed.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Format {
    /// Print one JSON object with a `schema` field instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a domain: its keys and an empty database
    Init(Init),
    /// Serve agents until stopped
    Run(Run),
    /// Groups of members
    #[command(subcommand)]
    Group(Group),
    /// Enrolment tokens
    #[command(subcommand)]
    Token(Token),
    /// Hosts and routers of the domain
    #[command(subcommand)]
    Member(Member),
    /// Keys and their epochs
    #[command(subcommand)]
    Key(Key),
    /// What all members go by
    #[command(subcommand)]
    Policy(Policy),
    /// Who did what
    #[command(subcommand)]
    Audit(Audit),
}

/// `init`
#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Address to listen on
    #[arg(long, value_name = "IP:PORT")]
    pub(crate) listen: SocketAddr,
    /// Where agents reach the server, if not at --listen; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) advertise: Vec<ServerAddress>,
}

/// `run`
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Serve Prometheus metrics as plain HTTP here
    #[arg(long, value_name = "IP:PORT", env = "MGMT_METRICS")]
    pub(crate) metrics: Option<SocketAddr>,
}

#[derive(Debug, Subcommand)]
enum Group {
    /// Make a group
    Create {
        /// Name
        name: String,
        #[command(flatten)]
        data: Data,
        /// Of several groups that two members share, the one with the lowest number protects
        #[arg(long, value_name = "N", default_value_t = crate::app::PRIORITY)]
        priority: u16,
    },
    /// All groups
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
    /// One group
    Show {
        /// Name
        name: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
}

#[derive(Debug, Subcommand)]
enum Token {
    /// Make a token and print what to paste on the new machine
    Create(TokenCreate),
    /// All tokens
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
    /// Take a token back
    Revoke {
        /// Id, or its beginning
        id: String,
        #[command(flatten)]
        data: Data,
    },
}

/// `token create`
#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    #[command(flatten)]
    pub(crate) data: Data,
    /// Group the new members join; may be given several times
    #[arg(long = "group", value_name = "NAME", required = true)]
    pub(crate) groups: Vec<String>,
    /// What the new members are
    #[arg(long, value_enum, default_value = "host")]
    pub(crate) kind: KindArg,
    /// Mode the new members begin with
    #[arg(long, value_enum, default_value = "open")]
    pub(crate) mode: ModeArg,
    /// Address range the new routers may stand for without being asked about; may be given several
    /// times
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub(crate) prefixes: Vec<Prefix>,
    /// How many machines may enrol with it
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) uses: u32,
    /// How long it is good for
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    pub(crate) expires: Duration,
    /// Print the bare token only
    #[arg(long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
enum Member {
    /// All members
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
    /// Change a member
    Set(MemberSet),
    /// Remove a member: everybody else gets new keys at once
    Remove {
        /// Name, or id, or its beginning
        id: String,
        #[command(flatten)]
        data: Data,
    },
}

/// `member set`
#[derive(Debug, Args)]
#[group(id = "change", required = true, multiple = true, args = ["mode", "transit", "prefixes"])]
pub(crate) struct MemberSet {
    /// Name, or id, or its beginning
    pub(crate) id: String,
    #[command(flatten)]
    pub(crate) data: Data,
    /// What it does with traffic of machines that share no group with it
    #[arg(long, value_enum)]
    pub(crate) mode: Option<ModeArg>,
    /// What a closed router lets pass of what others protect
    #[arg(long, value_enum)]
    pub(crate) transit: Option<TransitArg>,
    /// Address range a router stands for, instead of those it has; may be given several times
    #[arg(long = "prefix", value_name = "PREFIX")]
    pub(crate) prefixes: Vec<Prefix>,
}

#[derive(Debug, Subcommand)]
enum Key {
    /// Begin a new epoch of a group's key now
    Rotate {
        /// Name of the group
        group: String,
        #[command(flatten)]
        data: Data,
        /// Fresh key material at once, the old is refused after 5 s instead of 600 s
        #[arg(long)]
        hard: bool,
    },
    /// Make the next issuing key, if the present one is in its last 7 days
    Issue {
        #[command(flatten)]
        data: Data,
        /// Root key, if it is not in the data directory any more
        #[arg(long, value_name = "FILE")]
        root_key: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
enum Policy {
    /// Destinations worth asking for an agent; all others are taken for outsiders at once
    #[command(subcommand)]
    Scope(Ranges),
    /// Destinations never passed in clear, in open mode either
    #[command(subcommand)]
    MustProtect(Destinations),
}

/// What can be done with a list of ranges.
#[derive(Debug, Subcommand)]
enum Ranges {
    /// Add a range
    Add {
        /// Address range
        prefix: Prefix,
        #[command(flatten)]
        data: Data,
    },
    /// All ranges
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
    /// Take a range out
    Remove {
        /// Address range
        prefix: Prefix,
        #[command(flatten)]
        data: Data,
    },
}

/// What can be done with the list of what must be protected.
#[derive(Debug, Subcommand)]
enum Destinations {
    /// Add a range, or the name of a host
    Add {
        /// Address range, or a host's DNS name; agents look its addresses up themselves
        destination: Destination,
        #[command(flatten)]
        data: Data,
    },
    /// All ranges and names
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
    },
    /// Take a range or a name out
    Remove {
        /// Address range or name
        destination: Destination,
        #[command(flatten)]
        data: Data,
    },
}

#[derive(Debug, Subcommand)]
enum Audit {
    /// The last entries, newest first
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        format: Format,
        /// How many
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
}

/// Spelling of [`Kind`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KindArg {
    /// Software on a host
    Host,
    /// A router in front of ordinary machines
    Router,
}

impl From<KindArg> for Kind {
    fn from(kind: KindArg) -> Self {
        match kind {
            KindArg::Host => Self::Host,
            KindArg::Router => Self::Router,
        }
    }
}

/// Spelling of [`Mode`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ModeArg {
    /// Lets it pass in clear
    Open,
    /// Refuses it
    Closed,
    /// Lets it pass in clear, and reports what closed mode would refuse
    Observe,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Open => Self::Open,
            ModeArg::Closed => Self::Closed,
            ModeArg::Observe => Self::Observe,
        }
    }
}

/// Spelling of [`Transit`] on the command line.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TransitArg {
    /// Nothing
    Strict,
    /// What has a member of one of its groups at an end
    Vouched,
    /// Everything
    Any,
}

impl From<TransitArg> for Transit {
    fn from(transit: TransitArg) -> Self {
        match transit {
            TransitArg::Strict => Self::Strict,
            TransitArg::Vouched => Self::Vouched,
            TransitArg::Any => Self::Any,
        }
    }
}

impl Ranges {
    fn execute(self) -> Result<(), Error> {
        let list = PolicyList::SearchScope;
        match self {
            Self::Add { prefix, data } => policy::change(&data, list, prefix, true),
            Self::Remove { prefix, data } => policy::change(&data, list, prefix, false),
            Self::List { data, format } => policy::show(&data, format),
        }
    }
}

impl Destinations {
    fn execute(self) -> Result<(), Error> {
        match self {
            Self::Add { destination, data } => must_protect::change(&data, &destination, true),
            Self::Remove { destination, data } => must_protect::change(&data, &destination, false),
            Self::List { data, format } => must_protect::show(&data, format),
        }
    }
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// It was not done; the error says why and what helps.
    pub fn execute(self) -> Result<(), Error> {
        match self.command {
            Command::Init(args) => domain::init(&args),
            Command::Run(args) => domain::run(&args),
            Command::Group(Group::Create { name, data, priority }) => {
                group::create(&data, &name, priority)
            }
            Command::Group(Group::List { data, format }) => group::list(&data, format, None),
            Command::Group(Group::Show { name, data, format }) => {
                group::list(&data, format, Some(&name))
            }
            Command::Token(Token::Create(args)) => token::create(&args),
            Command::Token(Token::List { data, format }) => token::list(&data, format),
            Command::Token(Token::Revoke { id, data }) => token::revoke(&data, &id),
            Command::Member(Member::List { data, format }) => member::list(&data, format),
            Command::Member(Member::Set(args)) => member::set(&args),
            Command::Member(Member::Remove { id, data }) => member::remove(&data, &id),
            Command::Key(Key::Rotate { group, data, hard }) => key::rotate(&data, &group, hard),
            Command::Key(Key::Issue { data, root_key }) => key::issue(&data, root_key.as_deref()),
            Command::Policy(Policy::Scope(ranges)) => ranges.execute(),
            Command::Policy(Policy::MustProtect(list)) => list.execute(),
            Command::Audit(Audit::List { data, format, limit }) => {
                audit::list(&data, format, limit)
            }
        }
    }
}
