//! `epoll`, level-triggered, by the numbers of connections.

use anyhow::{Context, Result};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::os::fd::AsFd;
use std::time::Duration;

/// Events taken at once. The kernel lists who was served last at the end.
const EVENTS: usize = 1024;

pub(super) struct Poll {
    epoll: Epoll,
    events: Vec<EpollEvent>,
}

impl Poll {
    pub(super) fn new() -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        Ok(Self { epoll, events: vec![EpollEvent::empty(); EVENTS] })
    }

    pub(super) fn add(&self, fd: impl AsFd, number: usize, flags: EpollFlags) -> Result<()> {
        self.epoll.add(fd, EpollEvent::new(flags, number as u64)).context("epoll add")
    }

    pub(super) fn remove(&self, fd: impl AsFd) -> Result<()> {
        self.epoll.delete(fd).context("epoll delete")
    }

    /// Numbers of those that are ready.
    pub(super) fn wait(&mut self, most: Duration) -> Result<Vec<usize>> {
        let timeout = EpollTimeout::try_from(most).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut self.events, timeout) {
            Err(nix::Error::EINTR) => 0,
            other => other.context("epoll wait")?,
        };
        Ok(self.events[..count].iter().map(|event| event.data() as usize).collect())
    }
}
