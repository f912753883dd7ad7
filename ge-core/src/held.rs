//! Packets that wait for a verdict: bounded per flow and over the whole agent.

use crate::io::HeldFrame;
use crate::limits::{HELD_BYTES, HELD_BYTES_PER_FLOW, HELD_PER_FLOW};

/// Bytes held by the whole agent.
#[derive(Default)]
pub struct HeldBudget {
    bytes: usize,
    frames: usize,
}

impl HeldBudget {
    /// Frames held at present.
    #[must_use]
    pub const fn frames(&self) -> usize {
        self.frames
    }

    /// Bytes held at present.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }
}

/// The frames one flow holds, oldest first.
#[derive(Default)]
pub struct HeldFrames {
    frames: Vec<HeldFrame>,
    bytes: usize,
}

impl HeldFrames {
    /// Keeps a frame, or refuses it when the flow or the agent holds as much as it may. The
    /// newest is refused, not the oldest dropped: the first packet opens the conversation.
    pub fn push(&mut self, frame: HeldFrame, budget: &mut HeldBudget) -> bool {
        let len = frame.bytes.len();
        if self.frames.len() >= HELD_PER_FLOW
            || self.bytes + len > HELD_BYTES_PER_FLOW
            || budget.bytes + len > HELD_BYTES
        {
            return false;
        }
        self.bytes += len;
        budget.bytes += len;
        budget.frames += 1;
        self.frames.push(frame);
        true
    }

    /// Takes all frames, giving their room back.
    pub fn take(&mut self, budget: &mut HeldBudget) -> Vec<HeldFrame> {
        budget.bytes -= self.bytes;
        budget.frames -= self.frames.len();
        self.bytes = 0;
        std::mem::take(&mut self.frames)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::Direction;
    use crate::id::Interface;

    fn frame(len: usize) -> HeldFrame {
        HeldFrame { direction: Direction::Outgoing(Interface(1)), bytes: vec![0; len] }
    }

    #[test]
    fn a_flow_holds_no_more_than_its_share() {
        let (mut held, mut budget) = (HeldFrames::default(), HeldBudget::default());
        for _ in 0..HELD_PER_FLOW {
            assert!(held.push(frame(100), &mut budget));
        }
        assert!(!held.push(frame(100), &mut budget));
        assert_eq!(held.take(&mut budget).len(), HELD_PER_FLOW);
        assert_eq!((budget.frames(), budget.bytes()), (0, 0));
        assert!(!held.push(frame(HELD_BYTES_PER_FLOW + 1), &mut budget));
    }

    #[test]
    fn the_agent_holds_no_more_than_its_share() {
        let mut budget = HeldBudget::default();
        let mut flows: Vec<HeldFrames> = (0..200).map(|_| HeldFrames::default()).collect();
        let kept =
            flows.iter_mut().filter_map(|f| f.push(frame(65_000), &mut budget).then_some(()));
        assert_eq!(kept.count(), HELD_BYTES / 65_000);
    }
}
