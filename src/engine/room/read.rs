//! Collectives that only move data, some of them, without slots: who wants something reads it from where it lies, by [`Process::read`]. Each byte is copied once.
//!
//! A turn in which everybody sees everybody shows the addresses; a giver leaves when all its takers have read. One that gives up before (it waited too long, another
//! has failed) says so before its caller has the buffer again, and who reads looks at that afterwards: what it has read may then be anything.
//!
//! Whether ranks may read each other is tried once, when they meet, on the library's own memory. A buffer that the system reads for nobody else (a device's) is an error.

use super::collective::Task;
use super::direct::Shown;
use super::layout::{GONE_AT, PROCESS_AT, TAKEN_AT};
use super::shape::{Shape, Slice, Wants};
use super::{Room, Scene};
use crate::engine::VERDICT_GRACE;
use crate::transport::shm::{Process, Region};
use crate::types::{CollectiveKind, Reads};
use crate::{Error, Result};
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant};

/// What is read where nothing was measured. Between two ranks the system's way of reading costs less than a second copy from 64 KiB on (where they are level), and no
/// longer where memory is what both ways wait for: the second copy is then out of a cache, and the first goes past it. (Cascade Lake. On Zen 3, four ranks and
/// blocks of 128 KiB, reading takes half as long again with cores near, and six tenths of the time with cores far apart: so it is measured.)
pub const READS: Reads = Reads { blocks: 64 << 10..2 << 20, broadcast: 0..0 };

/// How often news are asked for of what kept a rank from being read.
const ASK: Duration = Duration::from_millis(2);

/// Where in a region's words the address of the nonce, in the process that made the region, is; and the nonce.
const ADDRESS_AT: usize = PROCESS_AT + 8;
const NONCE_AT: usize = PROCESS_AT + 16;

/// Says in a region that this process makes who it is, and leaves something that others can try to read.
pub(super) fn sign(region: &Region) -> Result<()> {
    let nonce = getrandom::u64()
        .map_err(|error| Error::System { what: "drawing a random number".into(), reason: error.to_string() })?;
    region.word(NONCE_AT).store(nonce, Ordering::Relaxed);
    region.word(ADDRESS_AT).store(region.word(NONCE_AT).as_ptr() as u64, Ordering::Relaxed);
    region.word(PROCESS_AT).store(Process::this().id() as u64, Ordering::Release);
    Ok(())
}

/// Whether this process can read that of the rank that made the region.
pub(super) fn is_readable(region: &Region) -> bool {
    let (address, nonce) =
        (region.word(ADDRESS_AT).load(Ordering::Relaxed), region.word(NONCE_AT).load(Ordering::Relaxed));
    let mut read = [0; 8];
    process_of(region).read(address, &mut read).is_ok() && u64::from_ne_bytes(read) == nonce
}

/// Says that this rank's buffers are its own again.
pub(super) fn give_up(region: &Region) {
    region.word(GONE_AT).store(1, Ordering::SeqCst);
    // Whatever the caller writes to them comes after.
    fence(Ordering::SeqCst);
}

fn process_of(region: &Region) -> Process {
    Process::with_id(region.word(PROCESS_AT).load(Ordering::Acquire) as i32)
}

impl Room {
    /// Whether a call is better read than carried; all ranks say the same. For calls in which all give, it is only asked where a byte has one taker, and so is copied once instead
    /// of twice. (What goes to three is copied three times instead of four, and the system's copies take longer: all_gather of 4 ranks, 128 KiB: 50 µs read, 20 carried; 8 MiB:
    /// 5.2 and 3.9 ms.) A broadcast is carried by two cores that each move a byte once, or read by one that does all of it: which is faster depends on how far they are apart.
    pub(super) fn is_read(&self, shape: &Shape<'_>) -> bool {
        let Some(reads) = &self.reads else { return false };
        match shape.part.kind {
            CollectiveKind::Broadcast => reads.broadcast.contains(&shape.longest),
            kind if kind.has_root() || kind.reduces() => false,
            _ => (self.size() == 2 || shape.shows_each()) && reads.blocks.contains(&shape.longest),
        }
    }

    pub(super) fn read_across(&mut self, scene: &Scene<'_>, task: &mut Task<'_>) -> Result<()> {
        let shape = task.shape;
        let tag = self.begin_turn(scene)?;
        let gives = shape.gives(self.me);
        let first = if shape.shows_each() { shape.given(0) } else { shape.given_to_all() };
        let address = if gives { task.input(first).as_ptr() as u64 } else { 0 };
        self.show(self.slot(self.me), &address.to_ne_bytes(), tag);
        self.ring();
        self.wait_for_tags(scene, tag)?;
        self.saw_everybody();
        task.keep_own(Slice { index: 0, width: shape.longest });
        match shape.wants() {
            Wants::Nobody => {}
            Wants::One(seat) => self.read_from(scene, task, seat, tag)?,
            Wants::Everybody => {
                let mut others = (self.me + 1..self.size()).chain(0..self.me);
                others.try_for_each(|seat| self.read_from(scene, task, seat, tag))?
            }
        }
        self.pieces = self.pieces.wrapping_add(1);
        self.raise(scene, TAKEN_AT, self.pieces);
        // Who only took leaves nothing in slots, and sets the flag for no other call before its giver is in that as well.
        if gives { self.wait_until_taken(scene, self.pieces) } else { Ok(()) }
    }

    /// Reads what `seat` has for this rank.
    fn read_from(&self, scene: &Scene<'_>, task: &mut Task<'_>, seat: usize, tag: u64) -> Result<()> {
        let shape = task.shape;
        let start = if shape.shows_each() { shape.given(self.me).start - shape.given(0).start } else { 0 };
        let mut address = 0;
        let shown = Shown { slot: self.slot(seat), bytes: size_of::<u64>(), tag };
        self.look(scene, seat, shown, |bytes| {
            address = bytes.try_into().map_or(0, u64::from_ne_bytes);
        })?;
        let into = &mut task.dst[shape.taken(seat)];
        let region = &self.regions[seat];
        let read = process_of(region).read(address.wrapping_add(start as u64), into);
        fence(Ordering::SeqCst);
        let reason = match read {
            Ok(()) if region.word(GONE_AT).load(Ordering::SeqCst) == 0 => return Ok(()),
            Ok(()) => "it gave up the call".to_owned(),
            Err(error) => error.to_string(),
        };
        // Whatever made it give up, or ended its process, is the better news; it may be on its way.
        let until = Instant::now() + VERDICT_GRACE;
        while Instant::now() < until {
            scene.watch.check(scene.call, self.ranks[seat])?;
            std::thread::sleep(ASK);
        }
        let (rank, peer, bytes) = (self.ranks[self.me], self.ranks[seat], into.len());
        Err(Error::System {
            what: format!("rank {rank}: {}: reading {bytes} bytes from rank {peer}", scene.call),
            reason,
        })
    }
}
