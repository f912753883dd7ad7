//! How a run of datagrams becomes system calls, and what an error in one of them means for the
//! others. Makes no system call itself.

use std::io;

/// Bytes in one `sendmsg`: the largest UDP payload of IPv4 (RFC 791, RFC 768).
const PAYLOAD: usize = 65_535 - 20 - 8;

/// What takes the datagrams, and hears what became of them.
pub(super) trait Kernel {
    /// One call: `bytes` as one datagram, or cut into datagrams of `segment` bytes.
    fn send(&mut self, bytes: &[u8], segment: Option<u16>) -> io::Result<()>;
    /// That many datagrams were not sent.
    fn lost(&mut self, datagrams: usize, error: &io::Error);
    /// The kernel cannot cut: it refused a call, of which that many datagrams went singly.
    fn cannot_cut(&mut self, error: &io::Error, datagrams: usize);
}

/// Sends datagrams of `segment` bytes each (the last may be shorter), in order, at most `at_once`
/// in one call; with `at_once` below two each by itself. An error costs the datagrams of its call
/// only.
pub(super) fn transfer(kernel: &mut impl Kernel, bytes: &[u8], segment: usize, at_once: usize) {
    if bytes.is_empty() || segment == 0 {
        return;
    }
    let mut whole = (PAYLOAD / segment).clamp(1, at_once.max(1)) * segment;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (part, behind) = rest.split_at(whole.min(rest.len()));
        rest = behind;
        if !together(kernel, part, segment) {
            whole = segment;
        }
    }
}

/// False if the kernel turned out to be unable to cut.
fn together(kernel: &mut impl Kernel, part: &[u8], segment: usize) -> bool {
    let size = u16::try_from(segment).ok().filter(|_| part.len() > segment);
    if size.is_none() {
        singly(kernel, part, segment);
        return true;
    }
    let Err(error) = kernel.send(part, size) else { return true };
    if is_cutting_refused(&error) {
        let sent = singly(kernel, part, segment);
        // Older kernels say EINVAL for a datagram above the MTU too; then the single ones fail as
        // well, and cutting is not to blame.
        if sent > 0 {
            kernel.cannot_cut(&error, sent);
        }
        return sent == 0;
    }
    let short = part.len() % segment;
    if is_too_big(&error) && short > 0 {
        // The last may fit where the others do not.
        let (full, last) = part.split_at(part.len() - short);
        kernel.lost(full.len() / segment, &error);
        singly(kernel, last, segment);
    } else {
        kernel.lost(part.len().div_ceil(segment), &error);
    }
    true
}

/// Sends each by itself; how many were sent.
fn singly(kernel: &mut impl Kernel, part: &[u8], segment: usize) -> usize {
    let mut sent = 0;
    let mut datagrams = part.chunks(segment);
    while let Some(datagram) = datagrams.next() {
        match kernel.send(datagram, None) {
            Ok(()) => sent += 1,
            // No use in asking for each of the others.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                kernel.lost(1 + datagrams.len(), &error);
                break;
            }
            Err(error) => kernel.lost(1, &error),
        }
    }
    sent
}

/// Whether a send failed because a datagram is larger than the interface's MTU.
#[must_use]
pub fn is_too_big(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EMSGSIZE)
}

pub(super) fn is_cutting_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EIO | libc::EINVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers by what is asked: `(first byte of the call, datagrams in it)`.
    struct Fake<F> {
        answer: F,
        segment: usize,
        /// First byte of every datagram that was sent.
        sent: Vec<u8>,
        calls: usize,
        lost: Vec<(usize, i32)>,
        refused: Vec<usize>,
    }

    impl<F: FnMut(u8, usize) -> i32> Kernel for Fake<F> {
        fn send(&mut self, bytes: &[u8], segment: Option<u16>) -> io::Result<()> {
            self.calls += 1;
            assert!(bytes.len() <= PAYLOAD);
            let count = segment.map_or(1, |size| bytes.len().div_ceil(usize::from(size)));
            assert!(segment.is_some() || bytes.len() <= self.segment, "two in one datagram");
            match (self.answer)(bytes[0], count) {
                0 => self.sent.extend(bytes.chunks(self.segment).map(|datagram| datagram[0])),
                number => return Err(io::Error::from_raw_os_error(number)),
            }
            Ok(())
        }

        fn lost(&mut self, datagrams: usize, error: &io::Error) {
            self.lost.push((datagrams, error.raw_os_error().unwrap()));
        }

        fn cannot_cut(&mut self, _: &io::Error, datagrams: usize) {
            self.refused.push(datagrams);
        }
    }

    /// Datagrams numbered by their first byte; `short` bytes make one more.
    fn try_run<F: FnMut(u8, usize) -> i32>(
        (count, size, short): (u8, usize, usize),
        at_once: usize,
        answer: F,
    ) -> Fake<F> {
        let mut bytes = Vec::new();
        for number in 0..count {
            bytes.resize(bytes.len() + size, number);
        }
        bytes.resize(bytes.len() + short, count);
        let mut fake = Fake {
            answer,
            segment: size,
            sent: Vec::new(),
            calls: 0,
            lost: Vec::new(),
            refused: Vec::new(),
        };
        transfer(&mut fake, &bytes, size, at_once);
        let lost: usize = fake.lost.iter().map(|(count, _)| count).sum();
        let all = usize::from(count) + usize::from(short > 0);
        assert_eq!(fake.sent.len() + lost, all, "each is sent or counted");
        assert!(fake.sent.is_sorted(), "order is kept");
        fake
    }

    #[test]
    fn calls_hold_what_the_kernel_takes() {
        for (shape, at_once, calls) in [
            ((100, 10, 0), 64, 2),
            ((129, 10, 3), 64, 3),
            ((129, 10, 3), 128, 2),
            ((100, 1400, 7), 128, 3),
            ((5, 40_000, 0), 64, 5),
            ((100, 10, 0), 0, 100),
            ((1, 10, 0), 64, 1),
            ((0, 10, 0), 64, 0),
        ] {
            let fake = try_run(shape, at_once, |_, _| 0);
            assert_eq!((fake.calls, fake.lost.len()), (calls, 0), "{shape:?} {at_once}");
        }
    }

    #[test]
    fn a_kernel_that_cannot_cut_gets_the_same_datagrams_once_and_in_order() {
        for error in [libc::EIO, libc::EINVAL] {
            let fake = try_run((100, 10, 3), 64, |_, count| if count > 1 { error } else { 0 });
            assert_eq!(fake.sent.len(), 101);
            assert_eq!(fake.refused, [64], "once");
            assert_eq!(fake.calls, 1 + 101);
        }
    }

    #[test]
    fn what_fails_singly_too_says_nothing_about_cutting() {
        let fake = try_run((70, 10, 0), 64, |_, _| libc::EINVAL);
        assert_eq!((fake.refused.len(), fake.lost.len()), (0, 70));
        assert_eq!(fake.calls, 1 + 64 + 1 + 6, "the second call was made together again");
    }

    #[test]
    fn an_error_in_one_call_does_not_lose_the_others() {
        for error in [libc::ENOBUFS, libc::EAGAIN, libc::EPERM, libc::ENETUNREACH, libc::EMSGSIZE] {
            let fake = try_run((200, 10, 0), 64, |first, _| if first == 64 { error } else { 0 });
            assert_eq!(fake.lost, [(64, error)]);
            assert_eq!(fake.sent.len(), 136);
            let fake = try_run((9, 10, 0), 0, |first, _| if first == 4 { error } else { 0 });
            assert_eq!(fake.lost, [(1, error)], "each is a call of its own");
        }
    }

    #[test]
    fn a_short_last_datagram_may_fit_where_the_others_do_not() {
        let answer = |first, _| if first < 20 { libc::EMSGSIZE } else { 0 };
        let fake = try_run((20, 100, 10), 64, answer);
        assert_eq!((fake.sent, fake.lost), (vec![20], vec![(20, libc::EMSGSIZE)]));
    }

    #[test]
    fn singly_a_full_queue_ends_the_attempts_of_its_call_only() {
        let mut asked = 0;
        let fake = try_run((64, 10, 0), 64, |_, count| {
            asked += 1;
            match (count, asked) {
                (64, _) => libc::EIO,
                (_, ..=11) => 0,
                _ => libc::EAGAIN,
            }
        });
        assert_eq!((fake.sent.len(), fake.lost), (10, vec![(54, libc::EAGAIN)]));
        assert_eq!(fake.refused, [10]);
    }
}
