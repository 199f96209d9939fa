//! What dialer and acceptor must agree on, and how a disagreement is told. P-39
//!
//! The sentences speak of both ranks by number, so that the same text is right on either side.

use super::message::Versions;
use super::{Hello, Local};
use crate::error::{Error, ErrorKind};
use crate::wire::auth::{MAC_BYTES, Token};

/// Under what label the dialer proves itself. P-37
const DIALER_LABEL: &str = "kirsh link 1 dialer";
/// Under what label the acceptor does. P-37
const ACCEPTOR_LABEL: &str = "kirsh link 1 acceptor";

/// Whether the dialer's wish fits who the acceptor is. Each side asks this for itself.
///
/// # Errors
/// The first disagreement, naming both sides' values. P-39
pub(super) fn agree(hello: &Hello, local: &Local) -> Result<(), Error> {
    let (dialer, acceptor) = (hello.rank, local.rank);
    if hello.job != local.job {
        return Err(Error::new(
            ErrorKind::Authentication,
            format!(
                "rank {dialer} (which dialled) belongs to job {:?}, rank {acceptor} (which was \
                 dialled) to job {:?}; start all ranks of a job with one job id, and jobs apart \
                 with addresses of their own",
                hello.job, local.job
            ),
        ));
    }
    if hello.world != local.world {
        return Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {dialer} (which dialled) was started with world size {}, rank {acceptor} \
                 (which was dialled) with {}; WORLD_SIZE must be the same everywhere",
                hello.world, local.world
            ),
        ));
    }
    if dialer == acceptor {
        return Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "two processes call themselves rank {dialer}: {:#018x} (which dialled) and \
                 {:#018x} (which was dialled); each needs a RANK of its own",
                hello.process, local.process
            ),
        ));
    }
    if hello.peer_rank != acceptor {
        return Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {dialer} dialled rank {} but reached rank {acceptor}; the address that \
                 was published for rank {} leads to another process",
                hello.peer_rank, hello.peer_rank
            ),
        ));
    }
    if hello.peer_process != local.process {
        return Err(Error::new(
            ErrorKind::Rendezvous,
            format!(
                "rank {dialer} dialled process {:#018x} of rank {acceptor} but reached process \
                 {:#018x}; either rank {acceptor} was started twice or again, or the address \
                 belongs to another job",
                hello.peer_process, local.process
            ),
        ));
    }
    if hello.checksums != local.checksums {
        let word = |on| if on { "with" } else { "without" };
        return Err(Error::new(
            ErrorKind::Mismatch,
            format!(
                "rank {dialer} (which dialled) was set up {} payload checksums, rank {acceptor} \
                 (which was dialled) {}; set them alike on every rank",
                word(hello.checksums),
                word(local.checksums)
            ),
        ));
    }
    Ok(())
}

/// No common protocol version. P-38
pub(super) fn no_version(theirs: Versions) -> Error {
    let own = Versions::OWN;
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "the process that dialled speaks protocol versions {} to {}, the one that was dialled \
             {} to {}; install one release of kirsh on every host",
            theirs.min, theirs.max, own.min, own.max
        ),
    )
}

/// The dialer's proof did not fit. P-37
pub(super) fn wrong_dialer(hello: &Hello, local: &Local) -> Error {
    Error::new(
        ErrorKind::Authentication,
        format!(
            "rank {} (which dialled) holds another token than rank {} (which was dialled); give \
             every rank the same KIRSH_TOKEN_FILE",
            hello.rank, local.rank
        ),
    )
    .with_peer(hello.rank)
}

/// The acceptor's proof did not fit, although it took the dialer's. P-37
pub(super) fn wrong_acceptor(hello: &Hello) -> Error {
    Error::new(
        ErrorKind::Authentication,
        format!(
            "the process that answered rank {} as rank {} could not prove that it holds the token; \
             it may be somebody else's",
            hello.rank, hello.peer_rank
        ),
    )
    .with_peer(hello.peer_rank)
}

/// The dialer's proof over both sides' messages, whole as they travelled. P-37
pub(super) fn dialer_proof(token: &Token, hello: &[u8], challenge: &[u8]) -> [u8; MAC_BYTES] {
    token.prove(DIALER_LABEL, &[hello, challenge])
}

pub(super) fn dialer_fits(
    token: &Token,
    hello: &[u8],
    challenge: &[u8],
    proof: &[u8; MAC_BYTES],
) -> bool {
    token.verify(DIALER_LABEL, &[hello, challenge], proof)
}

/// The acceptor's proof over the same. P-37
pub(super) fn acceptor_proof(token: &Token, hello: &[u8], challenge: &[u8]) -> [u8; MAC_BYTES] {
    token.prove(ACCEPTOR_LABEL, &[hello, challenge])
}

pub(super) fn acceptor_fits(
    token: &Token,
    hello: &[u8],
    challenge: &[u8],
    proof: &[u8; MAC_BYTES],
) -> bool {
    token.verify(ACCEPTOR_LABEL, &[hello, challenge], proof)
}
