//! A buffer of the caller's own that is listed, so that devices can be told of it once instead of copying from it at every call.

use super::registry;
use crate::types::Element;
use std::ops::{Deref, DerefMut};

/// A vector whose elements stay where they are, so that links over RDMA send from them without a copy. It is used as the slice that it
/// dereferences to, and gives the vector back.
///
/// It owns the vector: no safe program can free or move the elements while they are listed, not even by forgetting the value.
#[derive(Debug)]
pub struct Registered<T: Element> {
    elements: Vec<T>,
}

impl<T: Element> Registered<T> {
    /// Lists the elements of `buffer`.
    pub fn new(buffer: Vec<T>) -> Self {
        let bytes = size_of_val(buffer.as_slice());
        if bytes > 0 {
            registry::register(buffer.as_ptr().addr(), bytes, None);
        }
        Self { elements: buffer }
    }

    /// The vector, whose elements are listed no longer.
    pub fn into_vec(mut self) -> Vec<T> {
        self.forget();
        std::mem::take(&mut self.elements)
    }

    fn forget(&mut self) {
        if !self.elements.is_empty() {
            registry::forget(self.elements.as_ptr().addr());
        }
    }
}

impl<T: Element> Drop for Registered<T> {
    fn drop(&mut self) {
        self.forget();
    }
}

impl<T: Element> Deref for Registered<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.elements
    }
}

impl<T: Element> DerefMut for Registered<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.elements
    }
}

impl<T: Element> AsMut<[T]> for Registered<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::{find, is_listed, steady};
    use super::*;
    use zerocopy::IntoBytes;

    #[test]
    fn a_vector_is_listed_until_it_is_given_back() {
        let mut registered = Registered::new(vec![1.0f32; 100]);
        registered[3] = 2.0;
        let listed = steady(registered[50..].as_bytes()).expect("it is listed");
        assert_eq!((listed.start, listed.bytes), (registered.as_ptr().addr(), 400));
        assert_eq!(find(registered.as_bytes()), None, "no peer can map it");
        let vector = registered.into_vec();
        assert_eq!((vector.len(), vector[3]), (100, 2.0));
        assert!(steady(vector.as_bytes()).is_none() && !is_listed(listed.identity));
        drop(Registered::new(Vec::<u8>::new()));
    }
}
