//! The five handshake messages as bytes. P-32 to P-36

use super::transport::BODY_BYTES_MAX;
use super::{Hello, Lane};
use crate::error::ErrorKind;
use crate::limits::JOB_ID_MAX;
use crate::types::Rank;
use crate::wire::WireError;
use crate::wire::auth::{MAC_BYTES, Nonce};
use crate::wire::header::{VERSION, reserved, unknown};
use crate::wire::reader::{Reader, put_text};

/// Bytes of text in a refusal: the longest body less the kind and the text's length.
pub(super) const REFUSE_REASON_MAX: usize = BODY_BYTES_MAX - 3;

/// Bit 0 of the flags: frames on this link carry checksums of their payload.
const FLAG_CHECKSUMS: u8 = 1;

// P-30: the longest hello fits.
const _: () = assert!(88 + 2 + JOB_ID_MAX <= BODY_BYTES_MAX);

/// The acceptor's answer to a hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    /// The protocol version that the acceptor chose.
    pub(super) version: u8,
    pub(super) checksums: bool,
    pub(super) world: u32,
    pub(super) rank: Rank,
    pub(super) process: u64,
    pub(super) byte_position: u64,
    pub(super) nonce: Nonce,
    pub(super) job: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    Hello(Versions, Hello),
    /// A hello of a process that speaks none of this process's versions: all that can be read.
    ForeignHello(Versions),
    Challenge(Challenge),
    Proof([u8; MAC_BYTES]),
    Welcome([u8; MAC_BYTES]),
    Refuse {
        kind: ErrorKind,
        reason: String,
    },
}

/// The range of protocol versions that a dialer speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Versions {
    pub(super) min: u8,
    pub(super) max: u8,
}

impl Versions {
    /// What this process speaks. P-38
    pub(super) const OWN: Versions = Versions { min: VERSION, max: VERSION };

    pub(super) const fn contains(self, version: u8) -> bool {
        self.min <= version && version <= self.max
    }
}

impl Message {
    /// The numbers of all types.
    pub(super) const NUMBERS: std::ops::RangeInclusive<u8> = 1..=5;

    pub(super) const fn number(&self) -> u8 {
        match self {
            Message::Hello(..) | Message::ForeignHello(_) => 1,
            Message::Challenge(_) => 2,
            Message::Proof(_) => 3,
            Message::Welcome(_) => 4,
            Message::Refuse { .. } => 5,
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        match self {
            Message::Hello(..) | Message::ForeignHello(_) => "hello",
            Message::Challenge(_) => "challenge",
            Message::Proof(_) => "proof",
            Message::Welcome(_) => "welcome",
            Message::Refuse { .. } => "refusal",
        }
    }

    pub(super) fn put_body(&self, out: &mut Vec<u8>) {
        match self {
            Message::Hello(versions, hello) => put_hello(out, *versions, hello),
            Message::ForeignHello(versions) => out.extend_from_slice(&[versions.min, versions.max]),
            Message::Challenge(challenge) => put_challenge(out, challenge),
            Message::Proof(proof) | Message::Welcome(proof) => out.extend_from_slice(proof),
            Message::Refuse { kind, reason } => {
                out.push(*kind as u8);
                put_text(out, reason, REFUSE_REASON_MAX);
            }
        }
    }

    pub(super) fn parse(number: u8, body: &[u8]) -> Result<Message, WireError> {
        match number {
            1 => hello(Reader::new("hello", body)),
            2 => challenge(Reader::new("challenge", body)),
            3 => mac(Reader::new("proof", body)).map(Message::Proof),
            4 => mac(Reader::new("welcome", body)).map(Message::Welcome),
            5 => refuse(Reader::new("refusal", body)),
            other => Err(unknown("a handshake message type", other)),
        }
    }
}

/// P-32
fn put_hello(out: &mut Vec<u8>, versions: Versions, hello: &Hello) {
    out.extend_from_slice(&[versions.min, versions.max]);
    out.push(hello.lane as u8);
    out.push(flags(hello.checksums));
    out.extend_from_slice(&hello.world.to_le_bytes());
    out.extend_from_slice(&hello.rank.to_le_bytes());
    out.extend_from_slice(&hello.peer_rank.to_le_bytes());
    out.extend_from_slice(&hello.process.to_le_bytes());
    out.extend_from_slice(&hello.peer_process.to_le_bytes());
    out.extend_from_slice(&hello.communicator.to_le_bytes());
    out.extend_from_slice(&hello.epoch.to_le_bytes());
    out.extend_from_slice(&hello.channel.to_le_bytes());
    out.extend_from_slice(&hello.stripe.to_le_bytes());
    out.extend_from_slice(&hello.byte_position.to_le_bytes());
    out.extend_from_slice(&hello.nonce);
    put_text(out, &hello.job, JOB_ID_MAX);
}

/// P-32
fn hello(mut body: Reader<'_>) -> Result<Message, WireError> {
    let versions = Versions { min: body.u8("lowest version")?, max: body.u8("highest version")? };
    // P-38: the rest may look different in a version that this process does not know.
    if !versions.contains(VERSION) {
        return Ok(Message::ForeignHello(versions));
    }
    let lane = body.u8("lane")?;
    let lane = Lane::from_u8(lane).ok_or(unknown("a lane", lane))?;
    let checksums = take_flags(&mut body)?;
    let world = body.world("world size")?;
    let hello = Hello {
        lane,
        checksums,
        world,
        rank: body.rank_of("rank", world)?,
        peer_rank: body.rank_of("dialled rank", world)?,
        process: body.u64("process id")?,
        peer_process: body.u64("dialled process id")?,
        communicator: body.u64("communicator")?,
        epoch: body.u32("epoch")?,
        channel: body.u16("channel")?,
        stripe: body.u16("stripe")?,
        byte_position: body.u64("byte position")?,
        nonce: body.array("nonce")?,
        job: body.text("job id", JOB_ID_MAX)?.to_owned(),
    };
    // P-38: a dialer that also speaks a later version may append what that version adds.
    if versions.max <= VERSION {
        body.end()?;
    }
    Ok(Message::Hello(versions, hello))
}

/// P-33
fn put_challenge(out: &mut Vec<u8>, challenge: &Challenge) {
    out.extend_from_slice(&[challenge.version, flags(challenge.checksums), 0, 0]);
    out.extend_from_slice(&challenge.world.to_le_bytes());
    out.extend_from_slice(&challenge.rank.to_le_bytes());
    out.extend_from_slice(&challenge.process.to_le_bytes());
    out.extend_from_slice(&challenge.byte_position.to_le_bytes());
    out.extend_from_slice(&challenge.nonce);
    put_text(out, &challenge.job, JOB_ID_MAX);
}

/// P-33
fn challenge(mut body: Reader<'_>) -> Result<Message, WireError> {
    let version = body.u8("version")?;
    if version != VERSION {
        return Err(WireError::Version { found: version, expected: VERSION });
    }
    let checksums = take_flags(&mut body)?;
    reserved("the reserved bytes of a challenge", body.u16("reserved bytes")?.into())?;
    let world = body.world("world size")?;
    let challenge = Challenge {
        version,
        checksums,
        world,
        rank: body.rank_of("rank", world)?,
        process: body.u64("process id")?,
        byte_position: body.u64("byte position")?,
        nonce: body.array("nonce")?,
        job: body.text("job id", JOB_ID_MAX)?.to_owned(),
    };
    body.end()?;
    Ok(Message::Challenge(challenge))
}

/// P-34, P-35
fn mac(mut body: Reader<'_>) -> Result<[u8; MAC_BYTES], WireError> {
    let mac = body.array("proof")?;
    body.end()?;
    Ok(mac)
}

/// P-36
fn refuse(mut body: Reader<'_>) -> Result<Message, WireError> {
    let number = body.u8("kind of error")?;
    // A kind that a later version added still tells its reason.
    let kind = ErrorKind::from_u8(number).unwrap_or(ErrorKind::Protocol);
    let reason = body.text("reason", REFUSE_REASON_MAX)?;
    body.end()?;
    // Nobody has proved anything yet, and the text ends up on a user's terminal.
    let reason = reason.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    Ok(Message::Refuse { kind, reason })
}

const fn flags(checksums: bool) -> u8 {
    if checksums { FLAG_CHECKSUMS } else { 0 }
}

fn take_flags(body: &mut Reader<'_>) -> Result<bool, WireError> {
    let flags = body.u8("flags")?;
    reserved("unknown handshake flags", (flags & !FLAG_CHECKSUMS).into())?;
    Ok(flags & FLAG_CHECKSUMS != 0)
}
