//! What a started call asks of a buffer. It must not know any kind of buffer by name.

/// A buffer of `T`s that a started call can take, work on while its caller does other things, and give back: owned, so that
/// nobody else can touch it meanwhile. [`Vec`], boxed slices and [`Memory`](super::Memory) are buffers, and so is whatever
/// else owns a slice.
pub trait Buffer<T>: AsMut<[T]> + Send + 'static {}

impl<T, B: AsMut<[T]> + Send + 'static> Buffer<T> for B {}

#[cfg(test)]
mod tests {
    use super::super::Memory;
    use super::Buffer;

    /// Doubles on another thread, as a started call would.
    fn doubled<B: Buffer<i32>>(mut buffer: B) -> B {
        let worker = std::thread::spawn(move || {
            buffer.as_mut().iter_mut().for_each(|value| *value *= 2);
            buffer
        });
        worker.join().expect("nothing in it panics")
    }

    #[test]
    fn a_call_takes_it_and_gives_it_back() {
        assert_eq!(doubled(vec![1, 2, 3]), [2, 4, 6]);
        assert_eq!(*doubled(vec![1, 2].into_boxed_slice()), [2, 4]);
        assert_eq!(doubled([5]), [10]);
        let mut memory = Memory::allocate(2).expect("there is room");
        memory.copy_from_slice(&[4, -4]);
        let address = memory.as_ptr();
        let back = doubled(memory);
        assert_eq!(*back, [8, -8]);
        assert_eq!(back.as_ptr(), address, "not a copy");
    }
}
