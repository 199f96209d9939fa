//! A stream of handshake messages as an acceptor and as a dialer read it, in any splits.
//!
//! Byte 0: bit 0 puts the checksums right, bit 1 feeds a dialer in place of an acceptor. Byte 1
//! chooses the splits. The rest is the stream.

#![no_main]

use kirsh_core::limits::{HANDSHAKE_BYTES_MAX, JOB_ID_MAX, WORLD_SIZE_MAX};
use kirsh_core::wire::auth::Token;
use kirsh_core::wire::checksum::crc32c;
use kirsh_core::wire::handshake::{Acceptor, Dialer, Hello, Lane, Local, State};
use libfuzzer_sys::fuzz_target;

/// What the seeds were recorded with; see `seeds.py`.
const TOKEN: &str = "a token for vectors";

fuzz_target!(|data: &[u8]| {
    let [mode, split, stream @ ..] = data else {
        return;
    };
    let mut stream = stream.to_vec();
    if mode & 1 != 0 {
        repair(&mut stream);
    }
    let piece = usize::from(*split) + 1;
    if mode & 2 == 0 {
        assert_eq!(
            accept(&stream, usize::MAX),
            accept(&stream, piece),
            "splits change the outcome"
        );
    } else {
        assert_eq!(dial(&stream, usize::MAX), dial(&stream, piece), "splits change the outcome");
    }
});

/// Puts the checksums of the messages right, as far as messages can be made out.
fn repair(stream: &mut [u8]) {
    let mut at = 0;
    while let Some(length) = stream.get(at + 4..at + 6) {
        let check = at + 6 + usize::from(u16::from_le_bytes([length[0], length[1]]));
        if check + 4 > stream.len() {
            return;
        }
        let sum = crc32c(&stream[at..check]).to_le_bytes();
        stream[check..check + 4].copy_from_slice(&sum);
        at = check + 4;
    }
}

/// How a handshake went: bytes taken, bytes said, and the last state.
type Outcome = (usize, Vec<u8>, String);

fn accept(stream: &[u8], piece: usize) -> Outcome {
    let mut acceptor = Acceptor::new(std::array::from_fn(|i| 0xff - i as u8));
    let (mut taken, mut said) = (0, Vec::new());
    while taken < stream.len() {
        let bytes = &stream[taken..];
        let fed = acceptor.feed(&bytes[..piece.min(bytes.len())]);
        taken += fed;
        check(acceptor.wants());
        hear(acceptor.output(), &mut said);
        if let State::Offered(hello) = acceptor.state() {
            // P-32: what is offered keeps every limit.
            assert!(hello.job.len() <= JOB_ID_MAX, "{hello:?}");
            assert!(hello.world <= WORLD_SIZE_MAX, "{hello:?}");
            assert!(hello.rank < hello.world && hello.peer_rank < hello.world, "{hello:?}");
            let local = Local {
                job: hello.job.clone(),
                world: hello.world,
                process: hello.peer_process,
                rank: hello.peer_rank,
                byte_position: 0x9192_9394_9596_9798,
                checksums: true,
            };
            acceptor.accept(local, Token::new(TOKEN));
            hear(acceptor.output(), &mut said);
        } else if fed == 0 {
            break;
        }
    }
    (taken, said, format!("{:?}", acceptor.state()))
}

fn dial(stream: &[u8], piece: usize) -> Outcome {
    let hello = Hello {
        job: "digits-é".to_owned(),
        world: 0x0001_0000,
        process: 0x0102_0304_0506_0708,
        peer_process: 0x1112_1314_1516_1718,
        rank: 0x2122,
        peer_rank: 0x3132,
        lane: Lane::Bulk,
        channel: 0x4142,
        stripe: 0x5152,
        communicator: 0x6162_6364_6566_6768,
        epoch: 0x7172_7374,
        byte_position: 0x8182_8384_8586_8788,
        checksums: true,
        nonce: std::array::from_fn(|i| i as u8),
    };
    let mut dialer = Dialer::new(hello, Token::new(TOKEN));
    let (mut taken, mut said) = (0, Vec::new());
    hear(dialer.output(), &mut said);
    for bytes in stream.chunks(piece) {
        let fed = dialer.feed(bytes);
        taken += fed;
        check(dialer.wants());
        hear(dialer.output(), &mut said);
        if fed < bytes.len() {
            break;
        }
    }
    (taken, said, format!("{:?}", dialer.state()))
}

/// P-30: however long a peer says its message is, no more than this is waited for.
fn check(wants: usize) {
    assert!(wants <= HANDSHAKE_BYTES_MAX, "{wants} bytes are wanted");
}

fn hear(output: Option<Vec<u8>>, said: &mut Vec<u8>) {
    if let Some(bytes) = output {
        // At most an answer, and a refusal of what came behind what it answered.
        assert!(bytes.len() <= 2 * HANDSHAKE_BYTES_MAX);
        said.extend_from_slice(&bytes);
    }
}
