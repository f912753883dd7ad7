//! What the engine tells the threads beside it.

use super::FastSession;
use crate::flow::{FlowKey, HostPair};
use crate::id::SessionIndex;

/// One change of what a thread beside the engine knows.
pub enum Update {
    /// A session was agreed: its keys for this thread's lanes. From here on its peer may speak in
    /// them.
    Session(SessionIndex, Box<FastSession>),
    /// The session is no more; its keys are wiped.
    Gone(SessionIndex),
    /// The path of the session takes packets of this size only, or of any that its interface takes.
    PathMtu(SessionIndex, Option<u16>),
    /// The flow's packets are sealed under this session: its peer is known to have the keys.
    Send(FlowKey, SessionIndex),
    /// The flow's packets are the engine's matter again.
    Forget(HostPair),
}
