//! What a store's client and server say to each other, as bytes.
//!
//! First a greeting. The client says who it is (hello); the server answers with a refusal or with
//! its own nonce and, under a token, its proof; under a token the client then gives its proof and
//! gets a second answer. Hello and answer begin alike in every version: magic, version, length of
//! what follows; an answer goes on with status and reason in every version, so that versions can
//! refuse each other in words.
//!
//! Then the client asks and the server answers, one request at a time: a header of 16 bytes, key,
//! value; back a header of 16 bytes and a value.

use super::codec::{Reader, Writer, clip};
use crate::limits;
use crate::types::Rank;
use crate::wire::auth::{MAC_BYTES, NONCE_BYTES, Nonce, Token};

/// The version of this exchange.
pub(super) const VERSION: u16 = 1;

/// What a hello begins with, and what an answer does: not the same, so that a socket that was
/// connected to itself is noticed.
const HELLO_MAGIC: [u8; 8] = *b"KRSHhelo";
const ANSWER_MAGIC: [u8; 8] = *b"KRSHstor";

/// Bytes of magic, version and length.
pub(super) const FRONT_BYTES: usize = 12;

/// Bytes that may follow the front: names, nonce and proof, and in an answer the reason.
const ANSWER_BODY_MAX: usize = limits::HANDSHAKE_BYTES_MAX + limits::REASON_BYTES_MAX;

const SERVER_LABEL: &str = "kirsh store server";
const CLIENT_LABEL: &str = "kirsh store client";

/// Stands for a rank that is not known.
const NO_RANK: u32 = u32::MAX;

/// Why the front of a greeting is none.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotKirsh {
    Magic,
    Length,
}

/// The front of a greeting: the version, and how many bytes follow.
fn read_front(
    bytes: &[u8; FRONT_BYTES],
    magic: [u8; 8],
    len_max: usize,
) -> Result<(u16, usize), NotKirsh> {
    let mut from = Reader::new(bytes);
    let (Some(found), Some(version), Some(len)) = (from.array::<8>(), from.u16(), from.u16())
    else {
        return Err(NotKirsh::Length);
    };
    match usize::from(len) {
        _ if found != magic => Err(NotKirsh::Magic),
        len if len > len_max => Err(NotKirsh::Length),
        len => Ok((version, len)),
    }
}

fn with_front(magic: [u8; 8], version: u16, body: &[u8]) -> Vec<u8> {
    let mut to = Writer::default();
    to.raw(&magic).u16(version).u16(body.len() as u16).raw(body);
    to.0
}

/// What a client says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) rank: Option<Rank>,
    pub(super) pid: u32,
    pub(super) host_name: String,
    pub(super) has_token: bool,
    pub(super) job: String,
    pub(super) nonce: Nonce,
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u32(self.rank.unwrap_or(NO_RANK)).u32(self.pid);
        body.bytes(clip(&self.host_name, limits::HOST_NAME_MAX).as_bytes());
        body.u8(self.has_token.into());
        body.bytes(clip(&self.job, limits::JOB_ID_MAX).as_bytes()).raw(&self.nonce);
        with_front(HELLO_MAGIC, VERSION, &body.0)
    }

    /// The version and the length of what follows the front.
    pub(super) fn read_front(bytes: &[u8; FRONT_BYTES]) -> Result<(u16, usize), NotKirsh> {
        read_front(bytes, HELLO_MAGIC, limits::HANDSHAKE_BYTES_MAX)
    }

    pub(super) fn decode(body: &[u8]) -> Option<Hello> {
        let mut from = Reader::new(body);
        let hello = Hello {
            rank: from.u32().map(|rank| (rank != NO_RANK).then_some(rank))?,
            pid: from.u32()?,
            host_name: from.text(limits::HOST_NAME_MAX)?.to_owned(),
            has_token: from.u8()? != 0,
            job: from.text(limits::JOB_ID_MAX)?.to_owned(),
            nonce: from.array::<NONCE_BYTES>()?,
        };
        from.end()?;
        Some(hello)
    }

    /// How messages name the client. A rank goes first: see `join::refused_rank`.
    pub(super) fn who(&self) -> String {
        let name = match self.rank {
            Some(rank) => format!("rank {rank}"),
            None => "a client".to_owned(),
        };
        format!("{name} (host {}, pid {})", self.host_name, self.pid)
    }
}

/// What a server answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Why the client is turned away; empty where it is not.
    pub(super) refusal: String,
    /// The server's own job, for a client that finds itself at the wrong place.
    pub(super) job: String,
    pub(super) nonce: Nonce,
    /// Over hello, job and nonce; zero without a token.
    pub(super) proof: [u8; MAC_BYTES],
}

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut body = Writer::default();
        body.u8((!self.refusal.is_empty()).into());
        body.bytes(clip(&self.refusal, limits::REASON_BYTES_MAX).as_bytes());
        body.bytes(clip(&self.job, limits::JOB_ID_MAX).as_bytes());
        body.raw(&self.nonce).raw(&self.proof);
        with_front(ANSWER_MAGIC, VERSION, &body.0)
    }

    /// The version and the length of what follows the front.
    pub(super) fn read_front(bytes: &[u8; FRONT_BYTES]) -> Result<(u16, usize), NotKirsh> {
        read_front(bytes, ANSWER_MAGIC, ANSWER_BODY_MAX)
    }

    /// Reads an answer of this version, or of any other if it is a refusal.
    pub(super) fn decode(body: &[u8], version: u16) -> Option<Answer> {
        let mut from = Reader::new(body);
        let refused = from.u8()? != 0;
        let refusal = from.text(limits::REASON_BYTES_MAX)?.to_owned();
        if refused == refusal.is_empty() {
            return None;
        }
        if version != VERSION {
            let (job, nonce, proof) = (String::new(), [0; NONCE_BYTES], [0; MAC_BYTES]);
            return refused.then_some(Answer { refusal, job, nonce, proof });
        }
        let answer = Answer {
            refusal,
            job: from.text(limits::JOB_ID_MAX)?.to_owned(),
            nonce: from.array::<NONCE_BYTES>()?,
            proof: from.array::<MAC_BYTES>()?,
        };
        from.end()?;
        Some(answer)
    }

    /// Puts in the server's proof over the hello, as it came, and its own words.
    pub(super) fn prove(&mut self, token: &Token, hello: &[u8]) {
        self.proof = token.prove(SERVER_LABEL, &[hello, self.job.as_bytes(), &self.nonce]);
    }

    /// Whether the server knows the token.
    pub(super) fn is_proven(&self, token: &Token, hello: &[u8]) -> bool {
        token.verify(SERVER_LABEL, &[hello, self.job.as_bytes(), &self.nonce], &self.proof)
    }
}

/// The client's proof, over hello and answer as they went.
pub(super) fn client_proof(token: &Token, hello: &[u8], answer: &[u8]) -> [u8; MAC_BYTES] {
    token.prove(CLIENT_LABEL, &[hello, answer])
}

/// Whether a client knows the token.
pub(super) fn client_is_proven(
    token: &Token,
    hello: &[u8],
    answer: &[u8],
    proof: &[u8; MAC_BYTES],
) -> bool {
    token.verify(CLIENT_LABEL, &[hello, answer], proof)
}

/// Bytes of the header of a request and of a reply.
pub(super) const HEADER_BYTES: usize = 16;

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Request {
    Set,
    Get,
    /// The argument is how long to wait, in milliseconds.
    Wait,
    /// The argument is what to add.
    Add,
}

/// The header of a request, with lengths already held against the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestHeader {
    pub(super) request: Request,
    pub(super) key_len: usize,
    pub(super) value_len: usize,
    pub(super) argument: i64,
}

impl RequestHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let number = match self.request {
            Request::Set => 1,
            Request::Get => 2,
            Request::Wait => 3,
            Request::Add => 4,
        };
        let mut to = Writer::default();
        to.u8(number).u8(0).u16(self.key_len as u16).u32(self.value_len as u32);
        to.u64(self.argument as u64);
        to.0
    }

    /// `None` for an unknown request or a length beyond the limits; only `Set` has a value.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<RequestHeader> {
        let mut from = Reader::new(bytes);
        let request = match from.u8()? {
            1 => Request::Set,
            2 => Request::Get,
            3 => Request::Wait,
            4 => Request::Add,
            _ => return None,
        };
        let reserved = from.u8()?;
        let key_len = usize::from(from.u16()?);
        let value_len = from.u32()? as usize;
        let argument = from.u64()? as i64;
        let value_max = if request == Request::Set { limits::STORE_VALUE_MAX } else { 0 };
        let fits = reserved == 0
            && (1..=limits::STORE_KEY_MAX).contains(&key_len)
            && value_len <= value_max;
        fits.then_some(RequestHeader { request, key_len, value_len, argument })
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Done,
    /// The key has no value, or got none in time.
    Absent,
    /// The value of the reply says why.
    Failed,
}

/// The header of a reply, with its length already held against the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHeader {
    pub(super) status: Status,
    pub(super) value_len: usize,
    /// The sum, after `Add`.
    pub(super) number: i64,
}

impl ReplyHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let number = match self.status {
            Status::Done => 0,
            Status::Absent => 1,
            Status::Failed => 2,
        };
        let mut to = Writer::default();
        to.u32(number).u32(self.value_len as u32).u64(self.number as u64);
        to.0
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<ReplyHeader> {
        let mut from = Reader::new(bytes);
        let status = match from.u32()? {
            0 => Status::Done,
            1 => Status::Absent,
            2 => Status::Failed,
            _ => return None,
        };
        let value_len = from.u32()? as usize;
        let number = from.u64()? as i64;
        let fits = value_len <= limits::STORE_VALUE_MAX;
        fits.then_some(ReplyHeader { status, value_len, number })
    }
}
