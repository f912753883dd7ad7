//! Paths of the contract.

/// Become a member, with a token. `POST`.
pub const ENROL: &str = "/v1/enrol";
/// A new certificate before the present one ends. `POST`.
pub const RENEW: &str = "/v1/renew";
/// The member's present view; waits for a newer one when given `?after=VERSION`. `GET`.
pub const BUNDLE: &str = "/v1/bundle";
/// Names and groups of other members, as far as the policy tells them. `POST`.
pub const WHO: &str = "/v1/who";
/// Answers `ok` while the store can be read. `GET`.
pub const HEALTH: &str = "/healthz";

/// Server name in the TLS hello. Trust comes from the pinned key alone; the name is fixed so that
/// a look at the wire does not tell which server an agent belongs to.
pub const TLS_NAME: &str = "mgmt-server";
