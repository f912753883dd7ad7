//! The kernel's ring of captured frames (`PACKET_RX_RING`, `TPACKET_V3`).
//!
//! A socket's receive buffer is limited by the system for ordinary users to a few super-packets;
//! a ring is not, so that a capture loses nothing at gigabits per second.
//!
//! ```text
//! memory: | block 0 | block 1 | … |      block: | header | frame header, frame | frame … |
//! ```
//! The kernel fills a block and hands it over by its status word; we read it and hand it back.

use anyhow::{Context, Result, ensure};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Bytes of one block: sixteen super-packets.
const BLOCK: usize = 1 << 20;
/// Blocks: a twentieth of a second at ten gigabits.
pub(super) const BLOCKS: usize = 64;
/// The same where no more than single packets are expected.
pub(super) const BLOCKS_SMALL: usize = 4;
/// What the kernel wants to be told although frames of any size share a block.
const FRAME: usize = 2048;
/// A block that is not full is handed over after this time.
pub(super) const RETIRE: Duration = Duration::from_millis(10);

/// The ring of one packet socket.
pub(super) struct Ring {
    memory: *mut u8,
    blocks: usize,
    next: usize,
}

// SAFETY: the memory is this ring's alone, shared with the kernel only.
unsafe impl Send for Ring {}

impl Ring {
    /// Gives `socket` a ring of so many blocks. To be called before it is bound.
    pub(super) fn new(socket: &OwnedFd, blocks: usize) -> Result<Self> {
        let version: libc::c_int = libc::tpacket_versions::TPACKET_V3 as libc::c_int;
        set(socket, libc::PACKET_VERSION, &version).context("choosing the ring's layout")?;
        let request = libc::tpacket_req3 {
            tp_block_size: u32::try_from(BLOCK)?,
            tp_block_nr: u32::try_from(blocks)?,
            tp_frame_size: u32::try_from(FRAME)?,
            tp_frame_nr: u32::try_from(BLOCK / FRAME * blocks)?,
            tp_retire_blk_tov: u32::try_from(RETIRE.as_millis())?,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(socket, libc::PACKET_RX_RING, &request).context("making the ring")?;
        // SAFETY: a new shared mapping of the ring's whole length.
        let memory = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                BLOCK * blocks,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                socket.as_raw_fd(),
                0,
            )
        };
        let mapped = memory != libc::MAP_FAILED;
        ensure!(mapped, "mapping the ring: {}", std::io::Error::last_os_error());
        Ok(Self { memory: memory.cast(), blocks, next: 0 })
    }

    /// Reads every frame of the next block, if the kernel has handed it over.
    pub(super) fn read_block(&mut self, mut frame: impl FnMut(&[u8])) -> bool {
        // SAFETY: block `next` lies inside the mapping and begins with its header; between the
        // two accesses to the status word the block is ours, and its offsets were written by the
        // kernel to lie inside of it.
        unsafe {
            let block = self.memory.add(self.next * BLOCK);
            let header = &raw mut (*block.cast::<libc::tpacket_block_desc>()).hdr.bh1;
            let status = AtomicU32::from_ptr(&raw mut (*header).block_status);
            if status.load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
                return false;
            }
            let mut at = block.add((*header).offset_to_first_pkt as usize);
            for _ in 0..(*header).num_pkts {
                let head = at.cast::<libc::tpacket3_hdr>();
                let bytes = at.add(usize::from((*head).tp_mac));
                frame(std::slice::from_raw_parts(bytes, (*head).tp_snaplen as usize));
                at = at.add((*head).tp_next_offset as usize);
            }
            status.store(libc::TP_STATUS_KERNEL, Ordering::Release);
        }
        self.next = (self.next + 1) % self.blocks;
        true
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping made in `new`, which nobody else knows.
        unsafe { libc::munmap(self.memory.cast(), BLOCK * self.blocks) };
    }
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    // SAFETY: the value lives and has the length given.
    let result = unsafe {
        let value = std::ptr::from_ref(value).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, value, length)
    };
    ensure!(result == 0, std::io::Error::last_os_error());
    Ok(())
}
