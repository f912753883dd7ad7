//! Prometheus metrics. No names of members, few labels.

use crate::app::{App, Error, TokenState};
use mgmt_api::{ErrorCode, Kind};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Labels<const N: usize> = [(&'static str, &'static str); N];

/// What the server counts.
pub(crate) struct Metrics {
    registry: Registry,
    agents: Family<Labels<2>, Gauge>,
    tokens: Family<Labels<1>, Gauge>,
    version: Gauge,
    enrolments: Family<Labels<1>, Counter>,
    connections: Gauge,
}

/// A member heard of within this many seconds is online: two long polls and some patience.
const ONLINE: u64 = 90;

impl Metrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::default();
        let this = Self {
            agents: Family::default(),
            tokens: Family::default(),
            version: Gauge::default(),
            enrolments: Family::default(),
            connections: Gauge::default(),
            registry: Registry::default(),
        };
        registry.register("mgmt_agents", "Members by kind and state", this.agents.clone());
        registry.register("mgmt_tokens", "Enrolment tokens by state", this.tokens.clone());
        registry.register(
            "mgmt_policy_version",
            "Version of the domain's policy",
            this.version.clone(),
        );
        registry.register("mgmt_enrolments", "Enrolments by result", this.enrolments.clone());
        registry.register("mgmt_connections", "Open connections", this.connections.clone());
        Self { registry, ..this }
    }

    /// Counts one enrolment: granted, or refused with this code.
    pub(crate) fn count_enrolment(&self, refused: Option<ErrorCode>) {
        let result = refused.map_or("granted", ErrorCode::as_str);
        self.enrolments.get_or_create(&[("result", result)]).inc();
    }

    /// Open connections, now.
    pub(crate) const fn connections(&self) -> &Gauge {
        &self.connections
    }

    /// The exposition text.
    pub(crate) fn print(&self, app: &App, now: u64) -> Result<String, Error> {
        let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.version.set(signed(app.version()?));
        let members = app.members()?;
        for kind in [Kind::Host, Kind::Router] {
            for state in ["online", "offline"] {
                let online = state == "online";
                let count = members.iter().filter(|(member, _)| {
                    member.kind == kind
                        && (member.last_seen.saturating_add(ONLINE) >= now) == online
                });
                let labels = [("kind", kind.as_str()), ("state", state)];
                self.agents.get_or_create(&labels).set(signed(count.count() as u64));
            }
        }
        let tokens = app.tokens()?;
        for state in TokenState::ALL {
            let count = tokens.iter().filter(|token| TokenState::of(token, now) == state);
            let gauge = self.tokens.get_or_create(&[("state", state.as_str())]);
            gauge.set(signed(count.count() as u64));
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        Ok(text)
    }
}
