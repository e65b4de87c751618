//! The handshake that every connection of the job begins with: both ends prove that they know the job's key.
//!
//! ```text
//! dialler                                   listener
//!   Hello: magic, job, role, from, to, tag, nonce ->
//!                                        <- Challenge: nonce', proof of the listener
//!   proof of the dialler ->
//!                                        <- one byte: welcome, or why not
//! ```
//!
//! A proof is keyed BLAKE3 over its direction, the whole Hello and both nonces, so it is good for this connection, these ranks and this
//! purpose alone; a recorded one is worth nothing. Until the proofs are made, only reads of fixed size happen: a stranger has no length field to
//! play with. The key is never the secret itself: one is derived for the rendezvous, and another from random bytes that the rendezvous
//! gives to those it admits, so a process whose rank number was refused cannot turn to the members instead.
//!
//! What this is not: the connections are not encrypted, and members trust each other. It keeps strangers out.

use super::unique_id::Secret;
use super::wire::{Decoder, Encoder, Nonsense};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a whole handshake may take: some retransmissions on a bad network, no more.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// The `to` of a connection to the rendezvous, which is no rank.
pub(super) const RENDEZVOUS: u32 = u32::MAX;

/// First bytes of every connection; the last is the protocol's version.
const MAGIC: [u8; 8] = *b"serried\x01";

const NONCE: usize = 32;
const HELLO: usize = 8 + 16 + 1 + 4 + 4 + 4 + NONCE;
const ADMITTED: u8 = 0;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(super) enum Role {
    /// A rank reports at the rendezvous.
    Register = 1,
    /// A rank below attaches to a rank above in the control tree.
    Tree = 2,
    /// A transport's connection; its tag tells which.
    Data = 3,
}

/// Who dials whom, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Purpose {
    pub(super) role: Role,
    pub(super) from: u32,
    pub(super) to: u32,
    pub(super) tag: u32,
}

/// What a member knows: the job's public name and the key of its proofs.
#[derive(Clone)]
pub(super) struct Membership {
    job: [u8; 16],
    key: [u8; 32],
}

impl Membership {
    /// Of those who know the secret.
    pub(super) fn of_rendezvous(secret: &Secret) -> Self {
        Self::derived(secret, &[])
    }

    /// Of those whom the rendezvous admitted and gave `session`.
    pub(super) fn of_session(secret: &Secret, session: &[u8; 32]) -> Self {
        Self::derived(secret, session)
    }

    fn derived(secret: &Secret, session: &[u8]) -> Self {
        let derive = |context: &str, out: &mut [u8]| {
            blake3::Hasher::new_derive_key(context).update(&secret.0).update(session).finalize_xof().fill(out);
        };
        let mut membership = Self { job: [0; 16], key: [0; 32] };
        derive("serried job v1", &mut membership.job);
        derive("serried proof key v1", &mut membership.key);
        membership
    }

    fn proof(&self, direction: u8, hello: &[u8; HELLO], nonce: &[u8; NONCE]) -> blake3::Hash {
        blake3::Hasher::new_keyed(&self.key).update(&[direction]).update(hello).update(nonce).finalize()
    }
}

const BY_LISTENER: u8 = 1;
const BY_DIALLER: u8 = 2;

/// Why a listener that knows the dialler does not take the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[repr(u8)]
pub(super) enum Refusal {
    /// A connection for this purpose is there already.
    #[error("a connection of this rank is there already (do two processes claim one rank?)")]
    Taken = 1,
    /// Nobody waits for a connection for this purpose.
    #[error("no connection is expected from this rank")]
    Unexpected = 2,
    /// Not now.
    #[error("it has too many connections waiting")]
    Busy = 3,
}

impl Refusal {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Taken, Self::Unexpected, Self::Busy].into_iter().find(|r| *r as u8 == number)
    }
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Denied {
    /// The connection broke, or the other end closed it.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other end is no member of the job.
    #[error("whatever answers there is no part of this job: {0}")]
    Stranger(&'static str),
    /// It is a member and says no.
    #[error("refused: {0}")]
    Refused(Refusal),
}

impl From<Nonsense> for Denied {
    fn from(nonsense: Nonsense) -> Self {
        Self::Stranger(nonsense.0)
    }
}

/// A connection whose listener has proved itself; the dialler has not yet.
pub(super) struct Greeted {
    stream: TcpStream,
    proof: blake3::Hash,
}

/// Says hello and checks the listener's proof. Of several addresses raced by the dialler only one goes on from here.
pub(super) async fn greet(mut stream: TcpStream, member: &Membership, purpose: Purpose) -> Result<Greeted, Denied> {
    let nonce = nonce()?;
    let hello = encode(member, purpose, &nonce);
    stream.write_all(&hello).await?;
    let mut challenge = [0; NONCE + blake3::OUT_LEN];
    match stream.read_exact(&mut challenge).await {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(Denied::Stranger("it hung up (another service, job, rank or version)"));
        }
        other => other?,
    };
    let mut fields = Decoder::new(&challenge);
    let (theirs, proof) = (fields.array()?, blake3::Hash::from_bytes(fields.array()?));
    // Equality of hashes takes the same time wherever they differ.
    if member.proof(BY_LISTENER, &hello, &theirs) != proof {
        return Err(Denied::Stranger("its proof is wrong"));
    }
    Ok(Greeted { proof: member.proof(BY_DIALLER, &hello, &theirs), stream })
}

impl Greeted {
    /// Proves this end, and hears whether it is welcome.
    pub(super) async fn prove(mut self) -> Result<TcpStream, Denied> {
        self.stream.write_all(self.proof.as_bytes()).await?;
        match self.stream.read_u8().await? {
            ADMITTED => Ok(self.stream),
            other => Err(Refusal::from_number(other).map_or(Denied::Stranger("its answer is none"), Denied::Refused)),
        }
    }
}

/// A connection whose both ends have proved themselves; the dialler waits to hear whether it is welcome.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) purpose: Purpose,
    stream: TcpStream,
}

/// The listener's side. `me` is the rank that listens; who wants another rank is sent away before any proof.
pub(super) async fn answer(mut stream: TcpStream, member: &Membership, me: u32) -> Result<Visitor, Denied> {
    let mut hello = [0; HELLO];
    stream.read_exact(&mut hello).await?;
    let purpose = decode(member, &hello)?;
    if purpose.to != me {
        return Err(Denied::Stranger("it looks for another rank"));
    }
    let nonce = nonce()?;
    let mut challenge = [0; NONCE + blake3::OUT_LEN];
    challenge[..NONCE].copy_from_slice(&nonce);
    challenge[NONCE..].copy_from_slice(member.proof(BY_LISTENER, &hello, &nonce).as_bytes());
    stream.write_all(&challenge).await?;
    let mut proof = [0; blake3::OUT_LEN];
    stream.read_exact(&mut proof).await?;
    if member.proof(BY_DIALLER, &hello, &nonce) != blake3::Hash::from_bytes(proof) {
        return Err(Denied::Stranger("its proof is wrong"));
    }
    Ok(Visitor { purpose, stream })
}

impl Visitor {
    /// Lets it in.
    pub(super) async fn admit(mut self) -> io::Result<TcpStream> {
        self.stream.write_all(&[ADMITTED]).await?;
        Ok(self.stream)
    }

    /// Sends it away with a reason.
    pub(super) async fn refuse(mut self, why: Refusal) {
        // It may be gone already, which is what it was asked for.
        let _ = self.stream.write_all(&[why as u8]).await;
    }
}

fn nonce() -> Result<[u8; NONCE], Denied> {
    let mut nonce = [0; NONCE];
    getrandom::fill(&mut nonce).map_err(|e| io::Error::other(e.to_string()))?;
    Ok(nonce)
}

fn encode(member: &Membership, purpose: Purpose, nonce: &[u8; NONCE]) -> [u8; HELLO] {
    let Purpose { role, from, to, tag } = purpose;
    let fields = Encoder::fields().raw(&MAGIC).raw(&member.job).u8(role as u8).u32(from).u32(to).u32(tag).raw(nonce);
    fields.into_fields().try_into().expect("the fields of a hello have fixed sizes")
}

fn decode(member: &Membership, hello: &[u8; HELLO]) -> Result<Purpose, Denied> {
    let mut fields = Decoder::new(hello);
    if fields.array::<8>()? != MAGIC {
        return Err(Denied::Stranger("it does not speak this version of serried"));
    }
    if fields.array::<16>()? != member.job {
        return Err(Denied::Stranger("it belongs to another job"));
    }
    let number = fields.u8()?;
    let role = [Role::Register, Role::Tree, Role::Data].into_iter().find(|r| *r as u8 == number);
    let role = role.ok_or(Nonsense("an unknown role"))?;
    Ok(Purpose { role, from: fields.u32()?, to: fields.u32()?, tag: fields.u32()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    const PURPOSE: Purpose = Purpose { role: Role::Data, from: 3, to: 5, tag: 77 };

    fn member(secret: u8) -> Membership {
        Membership::of_rendezvous(&Secret([secret; 32]))
    }

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let dialled = TcpStream::connect(listener.local_addr().expect("its address")).await.expect("a connection");
        (dialled, listener.accept().await.expect("its other end").0)
    }

    async fn shake(dialler: &Membership, listener: &Membership, me: u32) -> (Option<Denied>, Option<Denied>) {
        let (near, far) = pair().await;
        let dial = async { greet(near, dialler, PURPOSE).await?.prove().await };
        let listen = async {
            let visitor = answer(far, listener, me).await?;
            assert_eq!(visitor.purpose, PURPOSE);
            Ok(visitor.admit().await?)
        };
        let (dialled, listened) = tokio::join!(dial, listen);
        (dialled.err(), listened.err())
    }

    #[tokio::test]
    async fn members_meet_and_strangers_do_not() {
        assert!(matches!(shake(&member(1), &member(1), 5).await, (None, None)));
        assert!(matches!(shake(&member(1), &member(1), 6).await, (Some(_), Some(Denied::Stranger(_)))));
        assert!(matches!(
            shake(&member(1), &member(2), 5).await,
            (Some(Denied::Stranger(_)), Some(Denied::Stranger(_)))
        ));
        // The right name of the job without its key: neither end proves anything.
        let forged = Membership { job: member(1).job, key: [9; 32] };
        assert!(matches!(shake(&member(1), &forged, 5).await.0, Some(Denied::Stranger("its proof is wrong"))));
        assert!(matches!(shake(&forged, &member(1), 5).await.0, Some(Denied::Stranger("its proof is wrong"))));
    }

    #[tokio::test]
    async fn a_dialler_without_the_key_is_found_out() {
        let (near, far) = pair().await;
        let dial = async {
            let mut greeted = greet(near, &member(1), PURPOSE).await?;
            greeted.proof = blake3::Hash::from_bytes([0; 32]);
            greeted.prove().await
        };
        let owned = member(1);
        let (dialled, listened) = tokio::join!(dial, async move { answer(far, &owned, 5).await.map(|v| v.purpose) });
        assert!(dialled.is_err());
        assert!(matches!(listened, Err(Denied::Stranger("its proof is wrong"))));
    }

    #[tokio::test]
    async fn a_recorded_handshake_is_worth_nothing() {
        // Record the dialler's bytes of a good handshake.
        let (near, far) = pair().await;
        let member = member(1);
        let hello = encode(&member, PURPOSE, &[4; NONCE]);
        let mut near = near;
        let record = async {
            near.write_all(&hello).await?;
            let mut challenge = [0; 64];
            near.read_exact(&mut challenge).await?;
            let theirs: [u8; 32] = challenge[..32].try_into().expect("half of it");
            let proof = member.proof(BY_DIALLER, &hello, &theirs);
            near.write_all(proof.as_bytes()).await?;
            io::Result::Ok(proof)
        };
        let (proof, listened) = tokio::join!(record, answer(far, &member, 5));
        assert!(listened.is_ok());
        // Play them back.
        let (mut near, far) = pair().await;
        near.write_all(&hello).await.expect("a write");
        near.write_all(proof.expect("a record").as_bytes()).await.expect("a write");
        assert!(matches!(answer(far, &member, 5).await, Err(Denied::Stranger("its proof is wrong"))));
    }

    #[test]
    fn a_session_has_names_of_its_own() {
        let secret = Secret([1; 32]);
        let (a, b) = (Membership::of_session(&secret, &[1; 32]), Membership::of_session(&secret, &[2; 32]));
        assert!(a.key != b.key && a.job != b.job && a.key != member(1).key && a.job != member(1).job);
    }
}
