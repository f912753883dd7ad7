//! Every cap, lifetime and retry count, with its reason. PROTOCOL.md 2.5 where not said otherwise.

use crate::mode::Role;
use core::time::Duration;

/// Outgoing UDP port of sealed data, and the port it is received on.
pub const DATA_PORT: u16 = 5865;

/// Mark on everything this agent sends itself; the egress rule lets it pass.
pub const MARK: u32 = 0x5865;

/// Hop limit of packets this agent makes itself (RFC 1700).
pub const HOP_LIMIT: u8 = 64;

/// Waits before the second, third and last attempt, and before the verdict. A TCP SYN is repeated
/// after 1 s, so that two attempts fit before the program notices.
pub const RETRY_LADDER: [Duration; 3] =
    [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000)];

/// Jitter on the ladder, in percent either way, so that two ends do not collide for ever.
pub const RETRY_JITTER_PERCENT: u64 = 10;

/// How long open mode holds a first packet before it passes it in clear and asks on in the
/// background. Longer would make the network feel slow.
pub const OPEN_HOLD: Duration = Duration::from_millis(300);

/// A question without an answer goes out in the other carrier as well after this long: below
/// [`OPEN_HOLD`] by more than most round trips, and long enough that a path that carries echo is
/// rarely asked twice (RFC 8305 5 waits 100 ms at the least between two attempts to connect).
pub const CARRIER_DELAY: Duration = Duration::from_millis(100);
/// How long it is remembered that only UDP passes to a destination: filters change rarely, and a
/// memory that is wrong costs one [`CARRIER_DELAY`].
pub const CARRIER_LIFETIME: Duration = Duration::from_secs(3600);
/// Destinations remembered for that.
pub const CARRIERS: usize = 4096;

/// New session keys are negotiated after this time.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Session keys are not used after this time.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// The responder of a session leaves rekeying to the initiator for this long.
pub const REKEY_HANDOVER: Duration = Duration::from_secs(2);
/// Sessions of one agent: every row of a host may have a current and a next one. The same for a
/// router, whose other rows are in clear or protected by others: keys and replay window make a
/// session tens of times as large as a row. Below 2^24 by far, so that a random index is found at
/// once.
pub const SESSIONS: usize = 2 * PIT_ROWS_HOST;
/// How long after new session keys the old ones still open (packets under way).
pub const OLD_KEYS_GRACE: Duration = Duration::from_secs(5);
/// New session keys are negotiated after this many packets.
pub const REKEY_AFTER_MESSAGES: u64 = 1 << 60;
/// The counts at which keys are replaced or dropped, as an engine uses them: a test cannot send
/// 2^60 packets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyLimits {
    /// See [`REKEY_AFTER_MESSAGES`].
    pub(crate) rekey_after_messages: u64,
    /// See [`FAILED_OPEN_REKEY`].
    pub(crate) failed_open_rekey: u64,
    /// See [`FAILED_OPEN_KILL`].
    pub(crate) failed_open_kill: u64,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            rekey_after_messages: REKEY_AFTER_MESSAGES,
            failed_open_rekey: FAILED_OPEN_REKEY,
            failed_open_kill: FAILED_OPEN_KILL,
        }
    }
}
/// A counter from here on is never used.
pub const REJECT_AFTER_MESSAGES: u64 = u64::MAX - (1 << 13);
/// Packets under one AES-GCM subkey: the low bits of the counter.
pub const SUBKEY_BITS: u32 = 24;
/// Failed openings after which the session is rekeyed, and after which it is dropped
/// (RFC 9001 6.6, RFC 9147 4.5.3).
pub const FAILED_OPEN_REKEY: u64 = 1 << 35;
/// See [`FAILED_OPEN_REKEY`].
pub const FAILED_OPEN_KILL: u64 = 1 << 36;

/// Replay window in packets (RFC 6479); 64 of them are the block being cleared.
pub const REPLAY_WINDOW: usize = 8192;

/// A negotiation message's time stamp may be off by this much.
pub const TIMESTAMP_WINDOW: Duration = Duration::from_secs(120);

/// Clocks of agents may differ by this much: a certificate counts this long before it begins and
/// after it ends, and a key this long before it begins. The value of [`TIMESTAMP_WINDOW`], since a
/// peer that is further off is refused anyway.
pub const CERTIFICATE_SKEW: Duration = TIMESTAMP_WINDOW;

/// Certificates whose signature is not verified a second time: peers met since the last policy.
pub const CERTIFICATES_VERIFIED: usize = 4096;

/// Groups one negotiation can offer: tag slots of a DDE, which is a single packet.
pub const TAG_SLOTS: usize = 8;
/// What an agent on the path said counts this long: more than three attempts, less than a useful
/// replay.
pub const RECORD_LIFETIME: Duration = Duration::from_secs(10);
/// A session that only its initiator has signed yet is remembered this long by the agents between.
pub const TENTATIVE_LIFETIME: Duration = Duration::from_secs(3);
/// Negotiations of others that pass at the same moment, as requests and as tentative sessions each; and
/// flows of which a router remembers that they were asked for, refused or answered late.
pub const PASSING: usize = 4096;
/// A destination-side router answers for a machine that echoes nothing after this long at the
/// soonest, and after five times as long at the latest: agents behind it go first.
pub const UNANSWERED_WAIT: Duration = Duration::from_millis(50);
/// Before that it repeats the question inwards so often: a lost answer must not make an agent in
/// front of a closed one speak for what it refuses.
pub const UNANSWERED_REPEATS: u32 = 3;
/// And waits so long each time: with the first wait that stays below [`OPEN_HOLD`].
pub const UNANSWERED_AGAIN: Duration = Duration::from_millis(25);
/// A closed agent that stands for neither side refuses a question that nobody behind it answered so
/// long: later than everybody who could be the end, who makes it content.
pub const BETWEEN_WAIT: Duration = Duration::from_millis(1200);
/// A refusal from further in is remembered so long: while it is, a router does not answer in place of
/// who refused and is not heard this time.
pub const REFUSAL_LIFETIME: Duration = Duration::from_secs(60);
/// A router remembers so long that an agent further in answered later than it waits, and gives it
/// [`BETWEEN_WAIT`] for this flow: longer than a session lasts until it is renewed.
pub const LATE_LIFETIME: Duration = Duration::from_secs(300);
/// An open router that could not protect the flow itself waits so long for who refused before to
/// refuse again: a little longer than the last of those takes, [`BETWEEN_WAIT`].
pub const REFUSED_AGAIN_WAIT: Duration = Duration::from_millis(1500);
/// When another agent asks for a flow that a router protects, the router's session is ended unless it
/// was used or renewed within this time: one retry ladder, and a little.
pub const HANDOVER: Duration = Duration::from_secs(4);
/// Questions a second that an open router asks inwards about strangers' first packets.
pub const SURVEYS_PER_SECOND: u32 = 50;
/// A router that is the end of a flow others asked for asks inwards, while the flow is in use,
/// whether an agent came up there that must be the end, or that refuses: so long after the session
/// began, and after twice as long each time up to [`INQUIRY_LAST`].
pub const INQUIRY_FIRST: Duration = Duration::from_secs(1);
/// The same, at most: one small packet in this time and flow, and only inside.
pub const INQUIRY_LAST: Duration = Duration::from_secs(16);
/// A session this young is not replaced because the peer yields: a peer that yields again and again
/// costs one negotiation in this time.
pub const YIELD_HEEDED_AFTER: Duration = Duration::from_millis(500);
/// Plaintext that was under way when two other agents agreed on a session still passes an open
/// router for this long; later it is a flow without agent that asks for its own verdict.
pub const TRANSIT_GRACE: Duration = Duration::from_secs(5);
/// Agents between the ends that fit a negotiation message of [`MESSAGE_MAX`].
pub const PATH_RECORDS: usize = 7;
/// Questions about one flow that a router remembers at the same time: each comes from an agent behind
/// it, and a path that more agents ask on than fit between two ends is protected by nobody.
pub const QUESTIONS_PER_FLOW: usize = PATH_RECORDS;

/// PIT rows of a host agent.
pub const PIT_ROWS_HOST: usize = 65_536;
/// Flows that observe mode remembers as ones that closed mode would drop: every row of a host, and
/// as many of the span before.
pub const OBSERVED_FLOWS: usize = PIT_ROWS_HOST;
/// PIT rows of a router agent: every machine behind it has a host's share of pairs. Memory is taken
/// as rows come.
pub const PIT_ROWS_ROUTER: usize = 1_048_576;
/// Rows that one source may cause without being asked: what strangers, initiators and machines
/// behind a router can bring about leaves room for others.
pub const PIT_ROWS_PER_SOURCE: usize = 4096;
/// PIT rows of an agent with this role.
#[must_use]
pub const fn pit_rows(role: &Role) -> usize {
    match role {
        Role::Host => PIT_ROWS_HOST,
        Role::Router { .. } => PIT_ROWS_ROUTER,
    }
}
/// A row without packets for this long is forgotten: one negotiation, not a broken flow.
pub const PIT_IDLE: Duration = Duration::from_secs(300);
/// How long a plain destination is not asked again in the foreground.
pub const NEGATIVE_LIFETIME: Duration = Duration::from_secs(300);
/// A flow that open mode let go in clear is asked about again in the background after this long,
/// and after twice as long each time up to [`ASK_AGAIN_LAST`]: its first question may have met a
/// moment of loss, or an agent that was about to start, and a closed agent at the other end refuses
/// the flow until it is asked.
pub const ASK_AGAIN_FIRST: Duration = Duration::from_secs(2);
/// The same, at most: three small packets a minute for a plain destination in use.
pub const ASK_AGAIN_LAST: Duration = Duration::from_secs(60);
/// How long a destination that could not be agreed with is refused at once before it is asked
/// again: short, so that a peer that comes up is found soon; long enough that a program that
/// retries in a loop does not flood the network with requests.
pub const REFUSED_LIFETIME: Duration = Duration::from_secs(5);
/// How long the kernel may pass a plaintext flow without asking us. Shorter than the negative
/// lifetime, so that a flow in use is seen and asked about again in the background.
pub const OFFLOAD_LIFETIME: Duration = Duration::from_secs(60);
/// Packets of a protected flow that leave in half a second, as often as it is looked at, from which on
/// the kernel hands them over without asking other rules. Its set is changed twice a minute then, in some
/// 22 us, and each of 15,000 packets was spared some 0.15 us.
pub const SHORTCUT_FROM: u64 = 250;
/// A session that received data and has nothing to send says so after this long (a tenth of a second
/// more at the most, since it is looked at twice a second), so that the sender can tell a quiet peer
/// from a dead one. One packet of 25 bytes, and only in flows that are strictly one-way.
pub const KEEPALIVE_AFTER: Duration = Duration::from_millis(400);
/// A session without packets for this long is at rest: it is looked at when something is due, and seldom
/// besides. Longer than [`WOKEN_AFTER`] by more than a turn of a thread takes.
pub const REST_AFTER: Duration = Duration::from_secs(2);
/// A thread beside the engine that uses a session after a pause of this long says so.
pub const WOKEN_AFTER: Duration = Duration::from_secs(1);
/// A session that sent data and heard nothing for this long and a round trip asks the peer to say
/// something: its keepalive should have come.
pub const PROMPT_AFTER: Duration = Duration::from_millis(600);
/// And again after this long each.
pub const PROMPT_EVERY: Duration = Duration::from_millis(100);
/// So often, until something is heard: where three of ten packets are lost each way, two keepalives
/// and four prompts with their answers are lost together in six of a thousand cases.
pub const PROMPTS: u32 = 4;
/// A session that sent data and heard nothing for this long and a round trip negotiates anew beside
/// itself: the peer or an agent between lost its state. With a first packet lost (250 ms) and half a
/// round trip for its repeat that stays below the sum of [`RETRY_LADDER`], after which the path's
/// programs have what they had.
pub const LIVENESS: Duration = Duration::from_millis(1000);
/// A measured round trip counts as no more than this: one that a loss made long must not hide a dead
/// peer.
pub const ROUND_TRIP_MAX: Duration = Duration::from_secs(1);
/// An ICMP error that says nobody listens makes a session negotiate at once, but not more often than
/// this: anybody on the path can make one up.
pub const DOUBT_HEEDED_EVERY: Duration = Duration::from_secs(5);
/// A session heard within this time is in use, and moves to a new epoch without waiting for its turn.
pub const IN_USE: Duration = Duration::from_secs(5);
/// How long a destination once seen protected is not talked to in clear.
pub const STICKY_LIFETIME: Duration = Duration::from_secs(24 * 3600);
/// Sticky entries kept.
pub const STICKY_ENTRIES: usize = 65_536;

/// Packets held per flow while it is negotiated.
pub const HELD_PER_FLOW: usize = 8;
/// Bytes held per flow: one 64 KiB super-packet must fit.
pub const HELD_BYTES_PER_FLOW: usize = 96 * 1024;
/// Bytes held by the whole agent.
pub const HELD_BYTES: usize = 8 * 1024 * 1024;

/// Ephemeral keys made ahead, so that a first packet does not wait for one. One more is made each
/// time the engine has nothing else to do, so that a few are enough.
pub const EPHEMERALS_AHEAD: usize = 4;

/// Negotiations under way, as initiator and as responder each.
pub const NEGOTIATIONS: usize = 4096;
/// A negotiation as responder that got no MPIT for this long is forgotten.
pub const RESPONDER_LIFETIME: Duration = Duration::from_secs(3);
/// Answers to requests already answered are kept this long for repeats.
pub const ANSWERED_LIFETIME: Duration = Duration::from_secs(10);
/// The same answer is repeated at most so often: once per attempt of the requester's ladder in each
/// of the two carriers.
pub const REPEATS: u32 = 5;
/// The CDN of a negotiation in echo leaves so much later than its MPIT came, which is in the
/// engine's next turn: what came with the MPIT goes first. Nobody waits for the CDN, and the
/// initiator's work on it is out of the way of the first answer.
pub const CDN_WAIT: Duration = Duration::from_micros(1);
/// Behind a NAT that is not ours, something is sent at least so often: home routers forget a UDP
/// mapping after 30 s (RFC 4787 REQ-5 asks for two minutes, and is not kept).
pub const NAT_KEEPALIVE: Duration = Duration::from_secs(25);
/// As [`OWNER_HEARD_WITHIN`], for an address behind which a NAT hides its owner: two keepalives may be
/// lost.
pub const NAT_OWNER_HEARD_WITHIN: Duration = Duration::from_secs(80);
/// The end that lost a glare waits this long before it asks again by itself.
pub const GLARE_WAIT: Duration = Duration::from_secs(1);
/// While the owner of an address was heard within this span, another agent cannot claim it.
pub const OWNER_HEARD_WITHIN: Duration = Duration::from_secs(15);
/// Ephemeral keys remembered per time-stamp window, against replayed requests.
pub const SEEN_EPHEMERALS: usize = 65_536;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Tokens a second.
    pub per_second: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
}

/// Slots of a table of buckets by source (THREATS.md row 59): half a MiB each, whatever happens.
pub const BUCKETS: usize = 1 << 16;
/// Requests of one source that has not shown that it receives what is sent to it. More of them are
/// answered with a COOKIE. The burst is what a machine with some hundred addresses asks at once, and
/// one source alone stays below [`LOAD_ANSWERS`].
pub const REQUESTS_UNPROVEN: Rate = Rate { per_second: 50, burst: 256 };
const _: () = assert!(
    (REQUESTS_UNPROVEN.burst as u64
        + REQUESTS_UNPROVEN.per_second as u64 * RESPONDER_LIFETIME.as_secs())
        < LOAD_ANSWERS as u64
);
/// Requests of one source that has shown it: PROTOCOL.md's figures for a source that speaks for many
/// machines. At a third of a millisecond each (`bench flood`) one source takes a sixth of a core.
pub const REQUESTS_PROVEN: Rate = Rate { per_second: 500, burst: 1000 };
/// Messages of one source that pass a router, each of which costs it up to two signatures.
pub const PASSING_PER_SOURCE: Rate = Rate { per_second: 500, burst: 1000 };
/// Requests of one source answered with a signed NOMATCH.
pub const NOMATCH_PER_SOURCE: Rate = Rate { per_second: 10, burst: 10 };
/// An agent is under load when more requests with a right `mac1` come than this: less than a tenth
/// of a core if all were answered.
pub const LOAD_REQUESTS: Rate = Rate { per_second: 500, burst: 256 };
/// Or when so many answers wait for their MPIT: an eighth of the table, as wireguard-go has it.
pub const LOAD_ANSWERS: usize = NEGOTIATIONS / 8;
/// A router is under load when more requests with a right `mac1` pass than this. Each costs it an
/// HMAC and a place among [`PASSING`].
pub const LOAD_PASSING: Rate = Rate { per_second: 20_000, burst: 4_000 };
/// Whoever was under load stays so for this long (wireguard-go): a flood that comes in waves must
/// not find an agent that has forgotten it.
pub const LOAD_STICKY: Duration = Duration::from_secs(1);
/// A cookie counts this long, at the agent that gave it and at the one that got it (WireGuard).
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);
/// Cookies under the secret before the present one count this much longer: one was under way.
pub const COOKIE_GRACE: Duration = Duration::from_secs(5);
/// Cookies remembered, by pair of hosts: one for each negotiation that can be under way.
pub const COOKIES_KEPT: usize = NEGOTIATIONS;
/// Cookies one negotiation follows: agents on a path may ask one after the other, but nobody shall
/// make an initiator repeat itself for ever.
pub const COOKIES_PER_NEGOTIATION: u32 = 3;
/// Messages of one negotiation that had a right `mac1` and were refused nevertheless: further ones
/// are not read. Each may have cost a key exchange and a signature.
pub const REFUSED_PER_NEGOTIATION: u32 = 16;

/// Datagrams that may overtake the MPIT of one answer: as many as a flow may hold, each of which
/// is one datagram unless it is a super-packet.
pub const EARLY_PER_ANSWER: usize = HELD_PER_FLOW;
/// Bytes of them in the whole agent.
pub const EARLY_BYTES: usize = 1024 * 1024;

/// Fragmented negotiation messages being put together: peers behind narrow IPv4 paths that
/// negotiate at the same moment.
pub const REASSEMBLY_SLOTS: usize = 64;
/// Fragments of one message arrive within this time, or the message is sent again anyway.
pub const REASSEMBLY_LIFETIME: Duration = Duration::from_secs(1);

/// Changed rows that wait, within one turn of the engine, for whoever follows them. A turn takes 64
/// frames and 16 buffers from each descriptor.
pub const CHANGES_PER_TURN: usize = 1024;

/// A negotiation message is never larger: with IPv6 and ICMP headers it fits 1,280 bytes.
pub const MESSAGE_MAX: usize = 1232;

/// Smallest outer packet size a PTB may bring us to, IPv4 (RFC 1191 and the forged-PTB attacks).
pub const MIN_PMTU_V4: u16 = 576;
/// Smallest outer packet size a PTB may bring us to, IPv6 (RFC 8200).
pub const MIN_PMTU_V6: u16 = 1280;
/// A lowered path MTU is forgotten after this long, so that a repaired path is used again
/// (RFC 1981 suggests ten minutes).
pub const PMTU_LIFETIME: Duration = Duration::from_secs(600);
