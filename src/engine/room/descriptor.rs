//! A rank's current call, for others to look at when they wait longer than they should.
//!
//! It is written by a rank that has waited long itself, that gives up, or that only gives, and will wait for nobody: other calls that go well pay nothing. Two
//! ranks in different calls both write, and both that wait find out. A version around the words tells a reader that it
//! read across a write. This module judges nothing.

use super::layout::DESCRIPTOR_AT;
use crate::Call;
use crate::transport::shm::Region;
use std::sync::atomic::{Ordering, fence};
use zerocopy::transmute;

/// Words of a call.
const CALL_WORDS: usize = size_of::<Call>() / 8;
/// Where the version, the state and the call are.
const VERSION_AT: usize = DESCRIPTOR_AT;
const STATE_AT: usize = VERSION_AT + 8;
const CALL_AT: usize = STATE_AT + 8;

/// What a rank is doing in the call that it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It was waiting long when it wrote this, or had nothing to wait for; the call may have ended well since, unless no later one is shown or made.
    Waited,
    /// The call is its last: it has found that the ranks disagree.
    Disagreed,
}

/// Shows `call` in the own region.
pub(super) fn publish(mine: &Region, call: &Call, state: State) {
    let version = mine.word(VERSION_AT);
    let before = version.load(Ordering::Relaxed);
    let words: [u64; CALL_WORDS] = transmute!(*call);
    version.store(before + 1, Ordering::Relaxed);
    fence(Ordering::Release);
    mine.word(STATE_AT).store((state == State::Disagreed).into(), Ordering::Relaxed);
    for (index, word) in words.into_iter().enumerate() {
        mine.word(CALL_AT + 8 * index).store(word, Ordering::Relaxed);
    }
    version.store(before + 2, Ordering::Release);
}

/// Shows none.
pub(super) fn clear(mine: &Region) {
    mine.word(VERSION_AT).store(0, Ordering::Release);
}

/// The call that `theirs` shows, if it shows one and is not just changing it.
pub(super) fn read(theirs: &Region) -> Option<(Call, State)> {
    let version = theirs.word(VERSION_AT);
    let before = version.load(Ordering::Acquire);
    let words: [u64; CALL_WORDS] =
        std::array::from_fn(|index| theirs.word(CALL_AT + 8 * index).load(Ordering::Relaxed));
    let state = theirs.word(STATE_AT).load(Ordering::Relaxed);
    fence(Ordering::Acquire);
    let whole = before != 0 && before.is_multiple_of(2) && version.load(Ordering::Relaxed) == before;
    let state = if state == 0 { State::Waited } else { State::Disagreed };
    whole.then(|| (transmute!(words), state))
}

#[cfg(test)]
mod tests {
    use super::super::Room;
    use super::*;
    use crate::{DataType, Op};

    #[test]
    fn a_call_is_seen_whole_or_not_at_all() {
        const CALLS: u64 = 20_000;
        let mine = Room::region(2).expect("there is room");
        assert_eq!(read(&mine), None);
        let card = mine.card();
        let reader = std::thread::spawn(move || {
            let theirs = Region::open(&card).expect("the own process can be reached");
            let mut last = 0;
            while last < CALLS {
                if let Some((call, state)) = read(&theirs) {
                    assert_eq!(state == State::Disagreed, call.sequence % 2 == 1);
                    assert_eq!(call.count, call.sequence * 3);
                    assert!(call.sequence >= last);
                    last = call.sequence;
                }
            }
        });
        for sequence in 1..=CALLS {
            let state = if sequence % 2 == 1 { State::Disagreed } else { State::Waited };
            publish(&mine, &Call::all_reduce(sequence, sequence * 3, DataType::F32, Op::Sum, 0), state);
        }
        reader.join().expect("it saw whole calls only");
    }
}
