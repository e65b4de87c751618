//! The unique id of a communicator: where its ranks meet, and the secret by which they know each other.

use super::endpoint::Endpoint;
use super::listener::Listener;
use super::settings::Settings;
use super::wire::{Decoder, Encoder};
use super::{root, thread};
use crate::error::{Error, Result};
use std::fmt::Write;
use std::str::FromStr;
use std::sync::Arc;

/// 256 bits that all ranks of a communicator know and nobody else does. It never prints itself.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) [u8; 32]);

/// Identifies one communicator that is about to be: where its rendezvous listens, and a 256-bit secret.
///
/// One process makes it with [`create`](Self::create) and gives it to all ranks by whatever way there is: its 128 bytes over
/// MPI or a store, or its text in an environment variable. Whoever knows it can join, so treat it as a password. It serves one
/// communicator, once.
#[derive(Clone, PartialEq, Eq)]
pub struct UniqueId {
    pub(super) endpoint: Endpoint,
    pub(super) secret: Secret,
}

/// What the text begins with, so that a mix-up of variables is seen at once.
const TEXT_PREFIX: &str = "serried1-";

/// The version of the layout, its first byte.
const VERSION: u8 = 1;

/// Bytes of the check at the end: it tells a mangled id from a good one, and protects nothing.
const CHECK: usize = 4;

impl UniqueId {
    /// The size of an id as bytes; that of NCCL's `ncclUniqueId`.
    pub const SIZE: usize = 128;

    /// Starts a rendezvous in this process and returns the id by which ranks find it. The process may be a rank itself or only
    /// launch ranks; it has to live until they have joined, and waits for the first of them as long as it lives.
    pub fn create(settings: &Settings) -> Result<Self> {
        let serve = |listener, secret| root::serve(listener, secret, root::Afterwards::Answer, Arc::default());
        Self::served(settings, serve)
    }

    /// The same for ranks that are all known to come, each once: its rendezvous stays for nobody else, nor if none comes at all.
    pub(crate) fn create_for_members(settings: &Settings) -> Result<Self> {
        // They are done with agreeing when one has been, within as long as they may then take to join.
        let time = settings.connect_timeout + settings.init_timeout;
        Self::served(settings, |listener, secret| root::serve_members(listener, secret, time))
    }

    fn served<F: Future<Output = ()> + Send + 'static>(
        settings: &Settings,
        serve: impl FnOnce(Listener, Secret) -> F,
    ) -> Result<Self> {
        settings.check()?;
        let mut key = [0; 32];
        fill_random(&mut key)?;
        let secret = Secret(key);
        let room = Self::SIZE - (1 + 9 + 32 + CHECK);
        let mut addresses = settings.listening_addresses()?;
        let mut used = 0;
        addresses.retain(|ip| {
            used += Endpoint::encoded_size(&(*ip, 0).into());
            used <= room
        });
        let listener = thread::handle()?.enter(|| Listener::bind(&addresses, settings.ports.as_ref()))?;
        let endpoint = listener.endpoint();
        thread::handle()?.spawn(serve(listener, secret.clone()));
        Ok(Self { endpoint, secret })
    }

    /// The id as bytes, to hand to ranks.
    pub fn to_bytes(&self) -> [u8; Self::SIZE] {
        let fields = self.fields();
        let mut bytes = [0; Self::SIZE];
        bytes[..fields.len()].copy_from_slice(&fields);
        bytes
    }

    /// The id that these bytes are.
    pub fn from_bytes(bytes: &[u8; Self::SIZE]) -> Result<Self> {
        Self::parse(bytes).ok_or_else(|| Error::InvalidArgument {
            what: "these 128 bytes are no unique id of this version of serried".into(),
        })
    }

    fn fields(&self) -> Vec<u8> {
        let fields = self.endpoint.encode(Encoder::fields().u8(VERSION).raw(&self.secret.0)).into_fields();
        let check = check(&fields);
        Encoder::fields().raw(&fields).raw(&check).into_fields()
    }

    /// Takes an id off the front; what follows is padding.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(bytes);
        let version = decoder.u8().ok()?;
        let secret = Secret(decoder.array().ok()?);
        let endpoint = Endpoint::decode(&mut decoder).ok()?;
        let rest = decoder.rest();
        let (read, found) = (bytes.len() - rest.len(), rest.get(..CHECK)?);
        let good = version == VERSION && check(&bytes[..read]) == found && rest[CHECK..].iter().all(|b| *b == 0);
        good.then_some(Self { endpoint, secret })
    }
}

/// The text form: one word of letters, digits and a dash.
impl std::fmt::Display for UniqueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = String::from(TEXT_PREFIX);
        for byte in self.fields() {
            write!(text, "{byte:02x}")?;
        }
        f.write_str(&text)
    }
}

impl FromStr for UniqueId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let digits = text.trim().strip_prefix(TEXT_PREFIX)?.as_bytes();
            let pair = |pair: &[u8]| {
                let text = std::str::from_utf8(pair).ok().filter(|text| !text.starts_with('+'))?;
                u8::from_str_radix(text, 16).ok()
            };
            let bytes: Option<Vec<u8>> = digits.chunks(2).map(|p| pair(p).filter(|_| p.len() == 2)).collect();
            Self::parse(&bytes.filter(|bytes| bytes.len() <= Self::SIZE)?)
        };
        // The text may be a good id but for one digit, so it is not repeated in the error.
        parse().ok_or_else(|| Error::InvalidArgument {
            what: format!(
                "this text is no unique id of this version of serried (expected {TEXT_PREFIX} and hexadecimal digits)"
            ),
        })
    }
}

/// Tells the addresses, not the secret.
impl std::fmt::Debug for UniqueId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UniqueId").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Fills `bytes` from the system's random source.
pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    getrandom::fill(bytes).map_err(|e| Error::System { what: "drawing random bytes".into(), reason: e.to_string() })
}

fn check(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    blake3::Hasher::new_derive_key("serried unique id check v1").update(bytes).finalize_xof().fill(&mut check);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> UniqueId {
        let addresses = ["192.0.2.1:5", "[2001:db8::1]:6", "127.0.0.1:7"].map(|a| a.parse().expect("an address"));
        UniqueId { endpoint: Endpoint::here(addresses.into()), secret: Secret([0xa5; 32]) }
    }

    #[test]
    fn bytes_and_text_go_there_and_back() {
        let id = id();
        assert_eq!(UniqueId::from_bytes(&id.to_bytes()).expect("bytes"), id);
        let text = id.to_string();
        assert_eq!(text.parse::<UniqueId>().expect("text"), id);
        assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') && text.len() < 300, "{text}");
    }

    #[test]
    fn a_mangled_id_is_refused() {
        let good = id().to_bytes();
        for at in 0..UniqueId::SIZE {
            let mut bad = good;
            bad[at] ^= 0x40;
            assert!(UniqueId::from_bytes(&bad).is_err(), "byte {at}");
        }
        let text = id().to_string();
        for bad in ["", "serried1-", "serried1-zz", "nonsense", &text[..text.len() - 1], &text[..text.len() - 2]] {
            assert!(bad.parse::<UniqueId>().is_err(), "{bad}");
        }
        assert!(format!("{text}00{}", "00".repeat(200)).parse::<UniqueId>().is_err());
        assert!(text.replace("a5a5", "+5a5").parse::<UniqueId>().is_err());
    }

    #[test]
    fn the_secret_never_prints() {
        let text = format!("{:?} {:?}", id(), id().secret);
        assert!(!text.contains("a5") && !text.contains("165"), "{text}");
        assert!(text.contains("192.0.2.1:5"));
    }

    #[test]
    fn created_ids_differ_and_can_be_dialled() {
        let settings = Settings::default();
        let (a, b) = (UniqueId::create(&settings).expect("an id"), UniqueId::create(&settings).expect("an id"));
        assert!(a.secret != b.secret && a.endpoint != b.endpoint);
        assert!(!a.endpoint.reachable().is_empty());
        assert_eq!(UniqueId::from_bytes(&a.to_bytes()).expect("bytes"), a);
    }
}
