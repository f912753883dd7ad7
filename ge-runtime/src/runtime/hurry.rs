//! Running before the local programs while these send faster than this thread reads.
//!
//! What programs send waits in the TUN's queue, which drops what it has no room for, and TCP sends it
//! again. Without a tunnel nothing is lost there, since the kernel sends before the program may go on; here
//! the scheduler shares the processor between whoever sends and this thread, which has more to do for each
//! packet. With 10,000 connections half of all segments were sent twice. So a thread that finds many frames
//! waiting runs before the programs until it finds few.
//!
//! Not always: programs that read need the processor too. A flood of small datagrams would be lost in
//! their socket buffers, and frames would be read one by one that can be read together.

use rustix::process::{getpriority_process, setpriority_process};
use tracing::debug;

/// So many frames in one turn are many: a super-packet's segments one by one, and then some.
const MANY: usize = 64;
/// Fewer are few: programs no longer send faster than it reads. Far below [`MANY`], since each change is a
/// system call.
const FEW: usize = 4;
/// Twenty-eight times the share of a program with the usual niceness of 0. Not the lowest, which leaves
/// room for what an administrator puts before it.
const HURRY: i32 = -15;

/// One per thread.
#[derive(Debug)]
pub(super) enum Hurry {
    /// It shares the processor as the system has it.
    No,
    /// It runs before others; its niceness before.
    Yes(i32),
    /// The system does not allow it.
    Never,
}

impl Hurry {
    /// A turn of this thread found so many frames.
    pub(super) fn after(&mut self, frames: usize) {
        match *self {
            Self::No if frames >= MANY => *self = Self::begin(),
            Self::Yes(before) if frames < FEW => {
                // Being nicer is always allowed.
                let _ = setpriority_process(None, before);
                *self = Self::No;
            }
            _ => {}
        }
    }

    /// On Linux no process means the calling thread.
    fn begin() -> Self {
        let begun = getpriority_process(None).and_then(|before| {
            setpriority_process(None, before.min(HURRY))?;
            Ok(Self::Yes(before))
        });
        begun.unwrap_or_else(|error| {
            debug!(%error, "the data path cannot run before programs that send a lot");
            Self::Never
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Niceness of a thread after turns with so many frames.
    fn after(turns: &[usize]) -> (i32, Hurry) {
        let turns = turns.to_vec();
        let thread = std::thread::spawn(move || {
            let mut hurry = Hurry::No;
            turns.into_iter().for_each(|frames| hurry.after(frames));
            (getpriority_process(None).unwrap(), hurry)
        });
        thread.join().unwrap()
    }

    #[test]
    fn many_frames_are_hurried_for_until_there_are_few() {
        let usual = getpriority_process(None).unwrap();
        assert!(matches!(after(&[MANY - 1]), (nice, Hurry::No) if nice == usual));
        for turns in [&[MANY][..], &[MANY, FEW], &[MANY, FEW - 1, MANY]] {
            match after(turns) {
                (nice, Hurry::Yes(before)) => assert_eq!((nice, before), (HURRY, usual)),
                // An ordinary user may not.
                (nice, hurry) => assert!(matches!(hurry, Hurry::Never) && nice == usual),
            }
        }
        assert!(
            matches!(after(&[MANY, FEW - 1]), (nice, Hurry::No | Hurry::Never) if nice == usual)
        );
    }
}
