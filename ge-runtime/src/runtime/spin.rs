//! Looking again for a moment before sleeping: what a packet brought about often comes back sooner
//! than a sleeping thread is awake again.
//!
//! A look that brings nothing costs processor time, so that it has to pay: after each time in vain
//! twice as many waits go by without one. What the local programs sent and what came in are told
//! apart: who asks hears an answer soon, but seldom asks again soon. Nothing is looked for where no
//! packet came before the wait, so that a machine at rest sleeps; and nothing where there is one
//! processor, since then nobody can bring about anything meanwhile.

use crate::poll_list::PollList;
use std::io;
use std::time::{Duration, Instant};

/// How long it is looked: more than an answer over one network segment takes that is made by the
/// other kernel, and less than the wake-ups it saves are worth.
const LOOK: Duration = Duration::from_micros(50);
/// A look takes less where no other thread wants the processor.
const ALONE: Duration = Duration::from_micros(5);
/// So many waits go by without a look, at most: what looking in vain costs is less than a microsecond
/// per wait then, a tenth of what the wait itself does.
const PASSED_BY_MAX: u32 = 64;

/// What came in before a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// No packet.
    Nothing,
    /// From the local stack, whatever else.
    Frames,
    /// From the network only.
    Datagrams,
}

/// Whether looking pays. One per thread.
#[derive(Debug)]
pub(super) struct Spin {
    /// There is somebody who can bring something about while this thread looks.
    worthwhile: bool,
    frames: Luck,
    datagrams: Luck,
}

impl Spin {
    /// For a thread that may run on so many processors.
    pub(super) const fn new(processors: usize) -> Self {
        Self { worthwhile: processors > 1, frames: Luck::NEW, datagrams: Luck::NEW }
    }

    /// For a thread that may run where this one may.
    pub(super) fn here() -> Self {
        // Unknown is one: then it sleeps at once.
        Self::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get))
    }

    /// Waits as [`PollList::wait`] does, but may look for more before it sleeps.
    ///
    /// # Errors
    /// As [`PollList::wait`].
    pub(super) fn wait(
        &mut self,
        list: &mut PollList,
        came: Came,
        most: Option<Duration>,
    ) -> io::Result<()> {
        let luck = match came {
            Came::Frames if self.worthwhile => &mut self.frames,
            Came::Datagrams if self.worthwhile => &mut self.datagrams,
            _ => return list.wait(most),
        };
        if !luck.is_due() {
            return list.wait(most);
        }
        let mut time = Instant::now();
        let looked = look(list, most.map_or(LOOK, |most| most.min(LOOK)), || {
            // Whoever was just handed something may wait for this processor.
            std::thread::yield_now();
            let before = std::mem::replace(&mut time, Instant::now());
            time - before
        })?;
        match looked {
            // What was there before says nothing about looking.
            Looked::AtOnce => Ok(()),
            Looked::Paid => {
                luck.paid();
                Ok(())
            }
            Looked::InVain(spent) => {
                luck.in_vain();
                list.wait(most.map(|most| most.saturating_sub(spent)))
            }
        }
    }
}

/// How looking went.
#[derive(Debug, PartialEq, Eq)]
enum Looked {
    /// Something was there before.
    AtOnce,
    /// Something came.
    Paid,
    /// Nothing came in this time.
    InVain(Duration),
}

/// Looks again and again, and gives way between two looks, which says how long it took since the one
/// before: for so long at most, and until another thread has taken its turn.
fn look(
    list: &mut PollList,
    most: Duration,
    mut give_way: impl FnMut() -> Duration,
) -> io::Result<Looked> {
    list.wait(Some(Duration::ZERO))?;
    if list.is_any_ready() {
        return Ok(Looked::AtOnce);
    }
    let mut spent = Duration::ZERO;
    while spent < most {
        let took = give_way();
        spent += took;
        if took > ALONE {
            break;
        }
        list.wait(Some(Duration::ZERO))?;
        if list.is_any_ready() {
            return Ok(Looked::Paid);
        }
    }
    Ok(Looked::InVain(spent))
}

/// How it went lately.
#[derive(Debug)]
struct Luck {
    /// Waits that go by before the next look.
    pass_by: u32,
    /// Those of the last time in vain; 0 after one that paid.
    passed_by: u32,
}

impl Luck {
    const NEW: Self = Self { pass_by: 0, passed_by: 0 };

    const fn is_due(&mut self) -> bool {
        let due = self.pass_by == 0;
        self.pass_by = self.pass_by.saturating_sub(1);
        due
    }

    const fn paid(&mut self) {
        *self = Self::NEW;
    }

    fn in_vain(&mut self) {
        self.passed_by = (self.passed_by * 2).clamp(1, PASSED_BY_MAX);
        self.pass_by = self.passed_by;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// Which of so many waits would look, if none ever pays.
    fn looks_in_vain(luck: &mut Luck, waits: u32) -> Vec<u32> {
        let mut looks = Vec::new();
        for wait in 0..waits {
            if luck.is_due() {
                looks.push(wait);
                luck.in_vain();
            }
        }
        looks
    }

    #[test]
    fn in_vain_twice_as_many_waits_go_by() {
        let mut luck = Luck::NEW;
        assert_eq!(looks_in_vain(&mut luck, 200), [0, 2, 5, 10, 19, 36, 69, 134, 199]);
        luck.paid();
        assert_eq!(looks_in_vain(&mut luck, 4), [0, 2]);
    }

    /// State after waits of 200 us in which nothing comes.
    fn after(mut spin: Spin, waits: &[Came]) -> [u32; 2] {
        let (_near, far) = UnixStream::pair().unwrap();
        let mut list = PollList::default();
        list.watch(&far);
        for came in waits {
            spin.wait(&mut list, *came, Some(Duration::from_micros(200))).unwrap();
            assert!(!list.is_any_ready());
        }
        [spin.frames.passed_by, spin.datagrams.passed_by]
    }

    #[test]
    fn frames_and_datagrams_are_told_apart_and_nothing_looks_for_nothing() {
        use Came::{Datagrams, Frames, Nothing};
        assert_eq!(after(Spin::new(2), &[Nothing, Nothing]), [0, 0]);
        assert_eq!(after(Spin::new(2), &[Frames]), [1, 0]);
        assert_eq!(after(Spin::new(2), &[Datagrams, Datagrams, Datagrams, Frames]), [1, 2]);
        assert_eq!(after(Spin::new(1), &[Frames, Datagrams]), [0, 0], "one processor");
    }

    #[test]
    fn what_was_there_before_is_no_gain() {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut list = PollList::default();
        list.watch(&far);
        let mut spin = Spin::new(2);
        spin.frames.in_vain();
        spin.frames.pass_by = 0;
        near.write_all(b"x").unwrap();
        spin.wait(&mut list, Came::Frames, None).unwrap();
        assert!(list.is_any_ready());
        assert_eq!(spin.frames.passed_by, 1);
    }

    /// What looking comes to if giving way takes so many microseconds each time, and the second time
    /// something comes.
    fn looked(most: u64, took: u64) -> Looked {
        let (mut near, far) = UnixStream::pair().unwrap();
        let mut list = PollList::default();
        list.watch(&far);
        let mut times = 0;
        let give_way = || {
            times += 1;
            if times == 2 {
                near.write_all(b"x").unwrap();
            }
            Duration::from_micros(took)
        };
        look(&mut list, Duration::from_micros(most), give_way).unwrap()
    }

    #[test]
    fn what_comes_while_it_looks_is_gain() {
        assert_eq!(looked(50, 1), Looked::Paid);
        assert_eq!(looked(1, 1), Looked::InVain(Duration::from_micros(1)), "too late");
        assert_eq!(looked(50, 6), Looked::InVain(Duration::from_micros(6)), "another thread ran");
    }
}
