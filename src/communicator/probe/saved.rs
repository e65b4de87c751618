//! Measured networks on the disk of rank 0, for the next job of the same ranks on the same hosts.

use crate::communicator::card::Card;
use crate::communicator::config::Config;
use crate::tune::{Candidates, Measured};
use std::env;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};
use zerocopy::IntoBytes;

/// How the files are called.
const NAME: &str = "network-";

/// What is measured and how it is priced: the number goes up with every change of either, and the optimised code and the other measure for themselves.
const METHOD: &str = if cfg!(debug_assertions) { "serried network v12, to debug" } else { "serried network v12" };

/// Where the network of these ranks is kept.
#[derive(Debug)]
pub(super) struct Saved {
    path: PathBuf,
}

impl Saved {
    /// A file of its own for every set of hosts, addresses and settings; `None` if this user has no directory for such files.
    pub(super) fn of(cards: &[Card], config: &Config) -> Option<Self> {
        let directory = config.probe_dir.clone().or_else(user_cache)?;
        let mut hasher = blake3::Hasher::new_derive_key(METHOD);
        hasher.update(config.ways().as_bytes());
        for card in cards {
            let addresses: Vec<String> = card.endpoint.addresses().iter().map(|one| one.ip().to_string()).collect();
            for part in [&card.host, &card.machine, &card.rail, &addresses.join(" ")] {
                hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
            }
            hasher.update(card.processors.as_bytes()).update(&[card.paths]);
        }
        let name = hasher.finalize().to_hex();
        Some(Self { path: directory.join(format!("{NAME}{}.txt", &name[..16])) })
    }

    /// What is there, if it is sound, no older than `age`, and of such ranks as `asked`.
    pub(super) fn read(&self, age: Duration, asked: &Candidates) -> Option<Measured> {
        let written = std::fs::metadata(&self.path).and_then(|file| file.modified()).ok()?;
        // A time to come is no age.
        if SystemTime::now().duration_since(written).ok()? > age {
            return None;
        }
        let text = std::fs::read_to_string(&self.path).ok()?;
        match Measured::parse(&text, asked) {
            Ok(measured) => Some(measured),
            Err(why) => {
                tracing::warn!(file = %self.path.display(), why, "a measured network that cannot be read is measured anew");
                None
            }
        }
    }

    /// Keeps it, and nothing that is older than `age`: hosts and settings of which there will be no other job leave files, too. Another communicator may read or
    /// write the same file meanwhile: it sees the old one or a whole new one.
    pub(super) fn write(&self, measured: &Measured, age: Duration) {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let written = self.path.with_extension(format!("{}-{number}.new", std::process::id()));
        let directory = self.path.parent().expect("a file in a directory");
        forget(directory, age);
        let done = std::fs::create_dir_all(directory)
            .and_then(|()| std::fs::write(&written, measured.to_string()))
            .and_then(|()| std::fs::rename(&written, &self.path));
        if let Err(error) = done {
            // The next job measures as this one did.
            tracing::debug!(file = %self.path.display(), %error, "the measured network was not kept");
            let _ = std::fs::remove_file(&written);
        }
    }
}

/// Removes what is older than `age`, of what is written here.
fn forget(directory: &Path, age: Duration) {
    let is_ours = |name: &str| name.starts_with(NAME) && (name.ends_with(".txt") || name.ends_with(".new"));
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let written = entry.metadata().and_then(|file| file.modified()).ok();
        let is_old = written.and_then(|at| at.elapsed().ok()).is_some_and(|elapsed| elapsed > age);
        if is_old && entry.file_name().to_str().is_some_and(is_ours) {
            // Another process may have done so.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn user_cache() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("serried"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::network::Network;
    use crate::tune::{Allowed, Reach};
    use crate::types::Grouping;

    #[test]
    fn what_was_kept_serves_until_it_is_too_old_or_broken() {
        let directory = env::temp_dir().join(format!("serried-saved-{}", std::process::id()));
        let saved = Saved { path: directory.join("deep/network.txt") };
        let day = Duration::from_secs(86_400);
        let network = Network::unknown(Grouping::one_host(2));
        let candidates = Candidates { network, reach: Reach::Links { slot_bytes: 4096 }, allowed: Allowed::default() };
        let best = candidates.cells().iter().filter_map(|(kind, bytes)| candidates.best(*kind, *bytes)).collect();
        let measured = Measured { candidates: candidates.clone(), best };
        let read = |age| saved.read(age, &candidates);
        assert_eq!(read(day), None);
        saved.write(&measured, day);
        assert_eq!(read(day), Some(measured.clone()));
        let others = Network::unknown(Grouping::one_host(3));
        assert_eq!(saved.read(day, &Candidates { network: others, ..candidates.clone() }), None);
        let file = std::fs::File::options().write(true).open(&saved.path).expect("it was written");
        file.set_modified(SystemTime::now() - Duration::from_secs(61)).expect("a file of this process");
        assert_eq!(read(Duration::from_secs(60)), None);
        assert_eq!(read(day).as_ref(), Some(&measured));
        file.set_modified(SystemTime::now() + day).expect("a file of this process");
        assert_eq!(read(day), None);
        std::fs::write(&saved.path, "serried network 0").expect("a file of this process");
        assert_eq!(read(day), None);
        for (name, age) in [("network-0.txt", 90_000), ("network-1.txt", 80_000), ("notes.txt", 90_000)] {
            let file = std::fs::File::create(directory.join("deep").join(name)).expect("a file of this process");
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).expect("a file of this process");
        }
        saved.write(&measured, day);
        let names = std::fs::read_dir(directory.join("deep")).expect("it is there");
        let mut names: Vec<_> = names.map(|entry| entry.expect("it is there").file_name()).collect();
        names.sort();
        std::fs::remove_dir_all(&directory).expect("it is this test's");
        assert_eq!(
            names,
            ["network-1.txt", "network.txt", "notes.txt"],
            "what is old goes, and nothing is left beside"
        );
    }
}
