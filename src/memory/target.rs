//! Memory that other ranks write into, whatever its owner does meanwhile.

use std::ptr::NonNull;

/// Some of this process' memory that one-sided calls of other ranks write into.
#[derive(Debug)]
pub struct Target {
    start: NonNull<u8>,
    bytes: usize,
    /// It is freed with the value.
    owned: bool,
}

// SAFETY: the memory is only copied to and from, whose order the ranks agree on; its owner promised that it may be, from any thread.
unsafe impl Send for Target {}
// SAFETY: the same.
unsafe impl Sync for Target {}

impl Target {
    /// Memory that nobody else uses.
    pub fn owned(bytes: Box<[u8]>) -> Self {
        let length = bytes.len();
        let start = NonNull::from(Box::leak(bytes)).cast();
        Self { start, bytes: length, owned: true }
    }

    /// The `bytes` bytes at `start`, which are somebody else's.
    ///
    /// # Safety
    /// They stay mapped until the value is dropped, and until then whoever reads or writes a byte of them that another rank writes has that
    /// agreed with it: by signals, or by other calls between the two.
    pub unsafe fn lent(start: NonNull<u8>, bytes: usize) -> Self {
        Self { start, bytes, owned: false }
    }

    /// How many bytes there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies `data` to `offset`; false if it would reach beyond the end. Nobody may read or write the target meanwhile.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) -> bool {
        let Some(place) = self.place(offset, data.len()) else { return false };
        // SAFETY: the place is this memory's, which is mapped and may be written, as its owner promised; `data` may be of the same memory, so the
        // copy allows for overlap.
        unsafe { std::ptr::copy(data.as_ptr(), place.as_ptr(), data.len()) };
        true
    }

    /// Copies what lies at `offset` to `into`; false if it would reach beyond the end. Nobody may write the target meanwhile.
    pub(crate) fn read(&self, offset: u64, into: &mut [u8]) -> bool {
        let Some(place) = self.place(offset, into.len()) else { return false };
        // SAFETY: the place is this memory's, which is mapped; `into` is borrowed, so it may be the same memory only if that is lent and its owner
        // broke the promise.
        unsafe { std::ptr::copy(place.as_ptr(), into.as_mut_ptr(), into.len()) };
        true
    }

    fn place(&self, offset: u64, bytes: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(offset).ok()?;
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.bytes);
        // SAFETY: the offset is within the memory, or at its end.
        fits.then(|| unsafe { self.start.add(offset) })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if self.owned {
            let memory = std::ptr::slice_from_raw_parts_mut(self.start.as_ptr(), self.bytes);
            // SAFETY: it was leaked from a box of this length, once.
            drop(unsafe { Box::from_raw(memory) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_beyond_the_end_is_refused() {
        let mut bytes = [0u8; 8];
        // SAFETY: the array outlives the value, and is read when nothing is written.
        let lent = unsafe { Target::lent(NonNull::from(&mut bytes[0]), 8) };
        for target in [lent, Target::owned(Box::new([0; 8]))] {
            assert!(target.write(5, &[1, 2, 3]) && target.write(8, &[]));
            assert!(!target.write(6, &[9, 9, 9]) && !target.write(u64::MAX, &[9]) && !target.write(9, &[]));
            let mut read = [9; 4];
            assert!(target.read(4, &mut read) && !target.read(5, &mut [0; 4]));
            assert_eq!(read, [0, 1, 2, 3]);
        }
        assert_eq!(bytes, [0, 0, 0, 0, 0, 1, 2, 3]);
    }
}
