//! Requests and answers, shared by both ends of the control socket.

use crate::exit::Exit;
use crate::report::{
    ChangeReport, EchoReport, FlowsReport, ProbeReport, StatusReport, TraceReport, Verdict,
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Longest request line in bytes. The longest meant one is under 160.
pub const REQUEST_MAX: usize = 4096;
/// Longest answer line in bytes: a full PIT of 65,536 rows at under 700 bytes each fits.
pub const ANSWER_MAX: usize = 64 * 1024 * 1024;

/// What a program on this host may ask. `{"request":"status"}`, one line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// The whole picture.
    Status {
        /// Also what the packet path does with the kernel.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        details: bool,
    },
    /// PIT rows.
    Flows {
        /// Only rows with this verdict.
        #[serde(default)]
        verdict: Option<Verdict>,
        /// Only rows that closed mode would drop (observe mode).
        #[serde(default)]
        would_drop: bool,
    },
    /// Negotiate with `address` and say what came of it.
    Probe {
        /// The other host.
        address: IpAddr,
    },
    /// Who is on the path between two hosts, and why the verdict is what it is.
    Trace {
        /// Source; without it, the address this machine would use.
        #[serde(default)]
        source: Option<IpAddr>,
        /// Destination.
        destination: IpAddr,
    },
    /// The same from what is known, without asking anybody.
    Why {
        /// Our side; without it, that of the only row with `remote`.
        #[serde(default)]
        local: Option<IpAddr>,
        /// The other side.
        remote: IpAddr,
    },
    /// Every change of a verdict from now on, until the connection ends.
    Follow {
        /// Only changes to this verdict.
        #[serde(default)]
        verdict: Option<Verdict>,
    },
    /// One ICMP echo to `address`, as any program's packet.
    Echo {
        /// The other host.
        address: IpAddr,
        /// Sequence number of the echo.
        sequence: u16,
    },
    /// The metrics as Prometheus text.
    Metrics {},
    /// Stop the agent. The connection closes when it is gone.
    Stop {},
}

/// What the agent answers. `{"answer":"status",…}`, one line each.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// To [`Request::Status`].
    Status(Box<StatusReport>),
    /// To [`Request::Flows`].
    Flows(FlowsReport),
    /// To [`Request::Probe`].
    Probe(Box<ProbeReport>),
    /// To [`Request::Trace`] and [`Request::Why`].
    Trace(Box<TraceReport>),
    /// To [`Request::Follow`]: changes are told from here on.
    Following {},
    /// After [`Answer::Following`], any number.
    Change(Box<ChangeReport>),
    /// To [`Request::Echo`].
    Echo(EchoReport),
    /// To [`Request::Metrics`].
    Metrics {
        /// OpenMetrics text.
        text: String,
    },
    /// To [`Request::Stop`]: it was passed on.
    Stopping {},
    /// To any request that is not done.
    Refused(Refusal),
}

/// Why a request is not done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Exit code for the program that asked.
    pub code: u8,
    /// One sentence.
    pub message: String,
}

impl Refusal {
    /// A refusal with the exit code `exit`.
    #[must_use]
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { code: exit.code(), message: message.into() }
    }
}

/// A line that is no request.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// Longer than [`REQUEST_MAX`].
    #[error("the request is longer than {REQUEST_MAX} bytes")]
    TooLong,
    /// Not JSON, or not a request this agent knows.
    #[error("not a request this agent knows: {0}")]
    Unknown(#[from] serde_json::Error),
}

/// Reads one request line, with or without its newline. Never panics, whatever the bytes.
pub fn parse_request(line: &[u8]) -> Result<Request, RequestError> {
    if line.len() > REQUEST_MAX {
        return Err(RequestError::TooLong);
    }
    Ok(serde_json::from_slice(line)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_written() {
        let address = "2001:db8::1".parse().unwrap();
        let requests = [
            Request::Status { details: false },
            Request::Status { details: true },
            Request::Flows { verdict: None, would_drop: false },
            Request::Flows { verdict: Some(Verdict::Dropped), would_drop: true },
            Request::Probe { address },
            Request::Trace { source: Some(address), destination: address },
            Request::Why { local: None, remote: address },
            Request::Follow { verdict: Some(Verdict::Clear) },
            Request::Echo { address, sequence: 7 },
            Request::Metrics {},
            Request::Stop {},
        ];
        for request in requests {
            let line = serde_json::to_vec(&request).unwrap();
            assert_eq!(parse_request(&line).unwrap(), request);
        }
    }

    #[test]
    fn lines_that_other_versions_send_keep_their_meaning() {
        let status = Request::Status { details: false };
        assert_eq!(parse_request(br#"{"request":"status"}"#).unwrap(), status);
        assert_eq!(serde_json::to_string(&status).unwrap(), r#"{"request":"status"}"#);
        let flows = parse_request(b"{\"request\":\"flows\"}\n").unwrap();
        assert_eq!(flows, Request::Flows { verdict: None, would_drop: false });
    }

    #[test]
    fn garbage_is_refused() {
        let deep = [b"[".repeat(2000), b"]".repeat(2000)].concat();
        let long = b" ".repeat(REQUEST_MAX + 1);
        let cases: [&[u8]; 12] = [
            b"",
            b"\n",
            b"\0\xff\xfe",
            b"null",
            b"{}",
            br#"{"request":"reboot"}"#,
            br#"{"request":"status","extra":1}"#,
            br#"{"request":"stop"}{"request":"stop"}"#,
            br#"{"request":"probe","address":"not an address"}"#,
            br#"{"request":"echo","address":"10.0.0.1","sequence":65536}"#,
            &deep,
            &long,
        ];
        for case in cases {
            assert!(parse_request(case).is_err(), "{:?}", String::from_utf8_lossy(case));
        }
    }
}
