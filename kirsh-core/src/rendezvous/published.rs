//! The values that joining ranks leave for each other: sealed where the job has a token, so that a
//! store that asks nobody who he is may serve too.
//!
//! A value is a body and 32 bytes of proof, zero without a token. What went wrong may be believed
//! without proof, so that a rank with another token can still say so and be told.

use super::codec::{Reader, Writer, clip};
use super::table::{Joiner, Member, Table, who};
use crate::error::{Error, ErrorKind};
use crate::limits;
use crate::types::Rank;
use crate::wire::auth::{MAC_BYTES, Token};

/// What the values of one meeting are sealed with.
pub(super) struct Seal<'a> {
    token: Option<&'a Token>,
    job: &'a str,
    generation: [u8; 8],
}

impl<'a> Seal<'a> {
    pub(super) fn new(me: &'a Joiner) -> Self {
        Seal { token: me.token.as_ref(), job: &me.job_id, generation: me.generation.to_le_bytes() }
    }

    /// The body with its proof behind it.
    pub(super) fn close(&self, label: &str, mut body: Vec<u8>) -> Vec<u8> {
        let proof = match self.token {
            Some(token) => token.prove(label, &self.parts(&body)),
            None => [0; MAC_BYTES],
        };
        body.extend_from_slice(&proof);
        body
    }

    /// The body of a value, and whether its proof is right; `None` where it is too short for one.
    /// Without a token the proof must be the empty one.
    pub(super) fn open<'b>(&self, label: &str, value: &'b [u8]) -> Option<(&'b [u8], bool)> {
        let (body, proof) = value.split_last_chunk::<MAC_BYTES>()?;
        let right = match self.token {
            Some(token) => token.verify(label, &self.parts(body), proof),
            None => *proof == [0; MAC_BYTES],
        };
        Some((body, right))
    }

    fn parts<'b>(&'b self, body: &'b [u8]) -> [&'b [u8]; 3] {
        [self.job.as_bytes(), &self.generation, body]
    }
}

/// What the first comer says of the world, for all others to compare with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) protocol: u16,
    pub(super) rank: Rank,
    pub(super) pid: u32,
    pub(super) host_name: String,
    /// What another version might write differently.
    pub(super) terms: Option<Terms>,
}

/// What all ranks must agree on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) has_token: bool,
    pub(super) job_id: String,
    pub(super) world_size: u32,
    pub(super) table_hash: u64,
}

impl Meta {
    pub(super) const LABEL: &'static str = "kirsh join meta";

    pub(super) fn of(me: &Joiner) -> Meta {
        Meta {
            protocol: me.protocol,
            rank: me.rank,
            pid: me.pid,
            host_name: clip(&me.host_name, limits::HOST_NAME_MAX).to_owned(),
            terms: Some(Terms {
                has_token: me.token.is_some(),
                job_id: me.job_id.clone(),
                world_size: me.world_size,
                table_hash: me.table_hash,
            }),
        }
    }

    /// How messages name the first comer.
    pub(super) fn who(&self) -> String {
        who(self.rank, &self.host_name, self.pid)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut to = Writer::default();
        to.u16(self.protocol).u32(self.rank).u32(self.pid).bytes(self.host_name.as_bytes());
        if let Some(terms) = &self.terms {
            to.u8(terms.has_token.into()).bytes(terms.job_id.as_bytes());
            to.u32(terms.world_size).u64(terms.table_hash);
        }
        to.0
    }

    /// The terms are read only where the version is one's own; the front stays as it is for ever.
    pub(super) fn decode(body: &[u8], own_protocol: u16) -> Option<Meta> {
        let mut from = Reader::new(body);
        let mut meta = Meta {
            protocol: from.u16()?,
            rank: from.u32()?,
            pid: from.u32()?,
            host_name: from.text(limits::HOST_NAME_MAX)?.to_owned(),
            terms: None,
        };
        if meta.protocol == own_protocol {
            meta.terms = Some(Terms {
                has_token: match from.u8()? {
                    0 => false,
                    1 => true,
                    _ => return None,
                },
                job_id: from.text(limits::JOB_ID_MAX)?.to_owned(),
                world_size: from.u32()?,
                table_hash: from.u64()?,
            });
            from.end()?;
        }
        Some(meta)
    }
}

pub(super) const RECORD_LABEL: &str = "kirsh join record";

pub(super) fn encode_record(member: &Member) -> Vec<u8> {
    let mut to = Writer::default();
    member.write(&mut to);
    to.0
}

pub(super) fn decode_record(body: &[u8]) -> Option<Member> {
    let mut from = Reader::new(body);
    let member = Member::read(&mut from)?;
    from.end()?;
    Some(member)
}

pub(super) const VERDICT_LABEL: &str = "kirsh join verdict";

/// How the meeting ended, for everyone alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Failed { kind: ErrorKind, text: String },
    Formed(Table),
}

impl Verdict {
    pub(super) fn failed(error: &Error) -> Verdict {
        let text = clip(error.message(), limits::REASON_BYTES_MAX).to_owned();
        Verdict::Failed { kind: error.kind(), text }
    }

    pub(super) fn encode(&self, token: Option<&Token>) -> Vec<u8> {
        let mut to = Writer::default();
        match self {
            Verdict::Failed { kind, text } => {
                to.u8(0).u8(*kind as u8).bytes(text.as_bytes());
            }
            Verdict::Formed(table) => {
                to.u8(1);
                table.write(&mut to, token.is_none());
            }
        }
        to.0
    }

    pub(super) fn decode(body: &[u8], token: Option<&Token>) -> Option<Verdict> {
        let mut from = Reader::new(body);
        match from.u8()? {
            0 => {
                let kind = ErrorKind::from_u8(from.u8()?)?;
                let text = from.text(limits::REASON_BYTES_MAX)?.to_owned();
                from.end()?;
                Some(Verdict::Failed { kind, text })
            }
            1 => Table::read(&mut from, token).map(Verdict::Formed),
            _ => None,
        }
    }
}
