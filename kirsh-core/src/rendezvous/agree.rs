//! What ranks must agree on before they may form a world, and how they are told that they do not:
//! both sides by name, with what each has. Pure; the store is only named (`place`).

use super::address::all_loopback;
use super::join::prefix;
use super::published::{Meta, RECORD_LABEL, Seal, Terms, decode_record};
use super::table::{Joiner, Member, epoch};
use crate::error::{Error, ErrorKind, Result};
use crate::limits;
use crate::types::Rank;

/// Compares what this rank was told with what the first comer was told.
pub(super) fn compare(me: &Joiner, seal: &Seal<'_>, value: &[u8], place: &str) -> Result<()> {
    let strange = || strange(me, "meta", place);
    let (body, proven) = seal.open(Meta::LABEL, value).ok_or_else(strange)?;
    let first = Meta::decode(body, me.protocol).ok_or_else(strange)?;
    let differ = |kind, what: &str, theirs: String, mine: String| {
        Err(Error::new(
            kind,
            format!(
                "{what} differs: {} has {theirs}, {} has {mine} (met through {place})",
                first.who(),
                me.who(),
            ),
        ))
    };
    let Some(Terms { has_token, job_id, world_size, table_hash }) = &first.terms else {
        let (theirs, mine) = (first.protocol.to_string(), me.protocol.to_string());
        return differ(ErrorKind::Mismatch, "the protocol version", theirs, mine);
    };
    if *job_id != me.job_id {
        let (theirs, mine) = (format!("{job_id:?}"), format!("{:?}", me.job_id));
        return differ(ErrorKind::Authentication, "the job id (KIRSH_JOB_ID)", theirs, mine);
    }
    if *has_token != me.token.is_some() {
        let tell = |has| if has { "one" } else { "none" }.to_owned();
        let (theirs, mine) = (tell(*has_token), tell(me.token.is_some()));
        return differ(ErrorKind::Authentication, "the token (KIRSH_TOKEN)", theirs, mine);
    }
    if !proven {
        let (theirs, mine) = ("one".to_owned(), "another".to_owned());
        return differ(ErrorKind::Authentication, "the token (KIRSH_TOKEN)", theirs, mine);
    }
    if *world_size != me.world_size {
        let (theirs, mine) = (world_size.to_string(), me.world_size.to_string());
        return differ(ErrorKind::Mismatch, "the world size", theirs, mine);
    }
    if *table_hash != me.table_hash {
        let (theirs, mine) = (format!("{table_hash:016x}"), format!("{:016x}", me.table_hash));
        return differ(ErrorKind::Mismatch, "the table of algorithms", theirs, mine);
    }
    Ok(())
}

/// What can be wrong with this rank without comparing it with any other.
pub(super) fn check_alone(me: &Joiner) -> Result<()> {
    let wrong = |kind, why: String| Err(Error::new(kind, format!("{} {why}", me.who())));
    if me.world_size == 0 || me.world_size > limits::WORLD_SIZE_MAX {
        let why = format!(
            "was given a world size of {}, and a world has 1 to {} ranks",
            me.world_size,
            limits::WORLD_SIZE_MAX
        );
        return wrong(ErrorKind::Mismatch, why);
    }
    if me.rank >= me.world_size {
        let why = format!("is out of range: the world size is {}", me.world_size);
        return wrong(ErrorKind::Mismatch, why);
    }
    if me.job_id.len() > limits::JOB_ID_MAX {
        let (len, max) = (me.job_id.len(), limits::JOB_ID_MAX);
        let why = format!("has a job id of {len} bytes, and at most {max} are allowed");
        return wrong(ErrorKind::InvalidArgument, why);
    }
    if me.addresses.is_empty() || me.addresses.len() > limits::ADDRESSES_MAX {
        let why = format!(
            "publishes {} addresses, and 1 to {} are allowed",
            me.addresses.len(),
            limits::ADDRESSES_MAX
        );
        return wrong(ErrorKind::InvalidArgument, why);
    }
    if me.handout.len() > limits::HANDOUT_BYTES_MAX {
        let why = format!(
            "hands out {} bytes of settings, and at most {} are allowed",
            me.handout.len(),
            limits::HANDOUT_BYTES_MAX
        );
        return wrong(ErrorKind::InvalidArgument, why);
    }
    if me.token.is_none() && !all_loopback(&me.addresses) {
        let why = "publishes addresses that other hosts can reach, but has no token; only \
                   loopback is used without one (KIRSH_TOKEN_FILE, written by `kirsh token`)";
        return wrong(ErrorKind::Authentication, why.to_owned());
    }
    epoch(me.generation).map(|_| ())
}

/// The record of a rank, if it is one and under this job's token.
pub(super) fn admit(
    me: &Joiner,
    seal: &Seal<'_>,
    rank: Rank,
    value: &[u8],
    place: &str,
) -> Result<Member> {
    let strange = || strange(me, &format!("record/{rank}"), place);
    let (body, proven) = seal.open(RECORD_LABEL, value).ok_or_else(strange)?;
    let member = decode_record(body).filter(|member| member.rank == rank).ok_or_else(strange)?;
    if !proven {
        return Err(Error::new(
            ErrorKind::Authentication,
            format!(
                "the token (KIRSH_TOKEN) differs: {} has one, {} has another",
                me.who(),
                member.who()
            ),
        ));
    }
    Ok(member)
}

/// Whether the ranks may meet: on several hosts only under a token.
pub(super) fn check_hosts(me: &Joiner, ranks: &[Member]) -> Result<()> {
    if me.token.is_none()
        && let Some(far) = ranks.iter().find(|member| member.host_id != me.host_id)
    {
        return Err(Error::new(
            ErrorKind::Authentication,
            format!(
                "{} and {} are on different hosts (or in different network namespaces), and \
                 the job has no token: write one with `kirsh token` and point KIRSH_TOKEN_FILE \
                 to it on every rank",
                ranks[0].who(),
                far.who()
            ),
        ));
    }
    let several = ranks.iter().any(|member| member.host_id != ranks[0].host_id);
    if several && let Some(shut) = ranks.iter().find(|member| all_loopback(&member.addresses)) {
        return Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{} publishes loopback addresses alone, and there are ranks on other hosts: see \
                 what its KIRSH_IFACE and KIRSH_BIND leave over, with `kirsh info`",
                shut.who()
            ),
        ));
    }
    Ok(())
}

/// A value that no version of this library writes.
pub(super) fn strange(me: &Joiner, key: &str, place: &str) -> Error {
    Error::new(
        ErrorKind::Protocol,
        format!("{place} holds something under {}{key} that is not Kirsh's", prefix(me.generation)),
    )
}
