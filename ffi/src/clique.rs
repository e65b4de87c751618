//! Which communicators of this process are ranks of the same one.
//!
//! A rank that leaves may have to wait for ranks that have not left yet. When those are held by the same thread, which destroys one after
//! the other, it must not: so all but the last leave in the background, and the last waits for them.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;

#[derive(Default)]
struct Clique {
    living: AtomicUsize,
    departing: Mutex<Vec<JoinHandle<()>>>,
}

static CLIQUES: Mutex<BTreeMap<u64, Weak<Clique>>> = Mutex::new(BTreeMap::new());

/// One rank's part in a clique.
pub(crate) struct Membership(Mutex<Place>);

struct Place {
    key: u64,
    clique: Arc<Clique>,
    left: bool,
}

impl Membership {
    /// In the clique of all that give the same `origin`.
    pub(crate) fn of(origin: &impl Hash) -> Self {
        Self(Mutex::new(Place::of(origin)))
    }

    /// Goes to the clique of another `origin`, unless it was given up.
    pub(crate) fn move_to(&self, origin: &impl Hash) {
        let mut place = self.lock();
        if !place.left {
            std::mem::replace(&mut *place, Place::of(origin)).give_up();
        }
    }

    /// What tells the clique from others.
    pub(crate) fn key(&self) -> u64 {
        self.lock().key
    }

    /// Gives the membership up.
    pub(crate) fn leave(&self) -> Farewell {
        let mut place = self.lock();
        Farewell { clique: place.clique.clone(), last: place.give_up() }
    }

    fn lock(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn of(origin: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        origin.hash(&mut hasher);
        let key = hasher.finish();
        let mut cliques = CLIQUES.lock().unwrap_or_else(PoisonError::into_inner);
        cliques.retain(|_, clique| clique.strong_count() > 0);
        let clique = cliques.get(&key).and_then(Weak::upgrade).unwrap_or_else(|| {
            let clique = Arc::new(Clique::default());
            cliques.insert(key, Arc::downgrade(&clique));
            clique
        });
        clique.living.fetch_add(1, Ordering::AcqRel);
        Self { key, clique, left: false }
    }

    /// Whether it was the last here.
    fn give_up(&mut self) -> bool {
        !std::mem::replace(&mut self.left, true) && self.clique.living.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

/// How a rank is to leave.
pub(crate) struct Farewell {
    clique: Arc<Clique>,
    last: bool,
}

impl Farewell {
    /// Does `goodbye`, which may have to wait for the other members: in the background, unless this is the last one here.
    pub(crate) fn say(self, goodbye: impl FnOnce() + Send + 'static) {
        let departing = || self.clique.departing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.last {
            let thread = std::thread::Builder::new().name("serried-goodbye".into());
            // If there is no thread to be had, what `goodbye` holds is dropped here, which says goodbye as well, if slowly.
            if let Ok(thread) = thread.spawn(goodbye) {
                departing().push(thread);
            }
            return;
        }
        goodbye();
        let threads = std::mem::take(&mut *departing());
        // A panic in one has been reported by its thread.
        threads.into_iter().for_each(|thread| drop(thread.join()));
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.lock().give_up();
    }
}
