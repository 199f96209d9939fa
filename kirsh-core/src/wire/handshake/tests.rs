//! Two machines shaking hands in memory: agreement, each disagreement, and hostile bytes.

use proptest::prelude::*;

use super::message::{Challenge, Message, REFUSE_REASON_MAX, Versions};
use super::transport::{BODY_BYTES_MAX, CHECK_BYTES, ENVELOPE_BYTES, seal};
use super::*;
use crate::error::ErrorKind;
use crate::limits::{HANDSHAKE_BYTES_MAX, JOB_ID_MAX, WORLD_SIZE_MAX};
use crate::wire::WireError;
use crate::wire::auth::{MAC_BYTES, Token};
use crate::wire::checksum::crc32c;
use crate::wire::header::VERSION;

fn hello() -> Hello {
    Hello {
        job: "digits".to_owned(),
        world: 4,
        process: 0xd1,
        peer_process: 0xac,
        rank: 3,
        peer_rank: 1,
        lane: Lane::Collective,
        channel: 5,
        stripe: 6,
        communicator: 7,
        epoch: 8,
        byte_position: 9,
        checksums: true,
        nonce: [1; 32],
    }
}

fn local() -> Local {
    Local {
        job: "digits".to_owned(),
        world: 4,
        process: 0xac,
        rank: 1,
        byte_position: 10,
        checksums: true,
    }
}

fn token() -> Token {
    Token::new("one token")
}

/// Carries bytes to and fro until neither side has anything to say, in pieces of `piece` bytes.
/// Bytes that a side does not take are lost, as on a closed connection. Gives what each side said.
fn shake(
    dialer: &mut Dialer,
    acceptor: &mut Acceptor,
    piece: usize,
    mut answer: impl FnMut(&mut Acceptor),
) -> (Vec<u8>, Vec<u8>) {
    let (mut dialled, mut accepted) = (Vec::new(), Vec::new());
    loop {
        let (to_acceptor, to_dialer) = (dialer.output(), acceptor.output());
        if to_acceptor.is_none() && to_dialer.is_none() {
            return (dialled, accepted);
        }
        for bytes in to_acceptor.iter().flat_map(|bytes| bytes.chunks(piece)) {
            dialled.extend_from_slice(bytes);
            acceptor.feed(bytes);
        }
        for bytes in to_dialer.iter().flat_map(|bytes| bytes.chunks(piece)) {
            accepted.extend_from_slice(bytes);
            dialer.feed(bytes);
        }
        if matches!(acceptor.state(), State::Offered(_)) {
            answer(acceptor);
        }
    }
}

/// A handshake of these two, and both errors.
fn disagree(hello: Hello, local: Local, token_of_acceptor: Token) -> [Error; 2] {
    let (mut dialer, mut acceptor) = (Dialer::new(hello, token()), Acceptor::new([2; 32]));
    shake(&mut dialer, &mut acceptor, 512, |acceptor| {
        acceptor.accept(local.clone(), token_of_acceptor.clone());
    });
    [failure(dialer.state()), failure(acceptor.state())]
}

fn failure(state: &State) -> Error {
    match state {
        State::Failed(error) => error.clone(),
        other => panic!("the handshake should have failed, but is {other:?}"),
    }
}

fn established(state: &State) -> Established {
    match state {
        State::Established(established) => established.clone(),
        other => panic!("the handshake should be over, but is {other:?}"),
    }
}

// P-31, P-32, P-33, P-42
#[test]
fn both_sides_end_up_knowing_each_other_however_the_bytes_come() {
    for piece in [1, 2, 3, 5, 6, 7, 64, 512] {
        let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
        shake(&mut dialer, &mut acceptor, piece, |acceptor| {
            assert!(matches!(acceptor.state(), State::Offered(offer) if *offer == hello()));
            acceptor.accept(local(), token());
        });
        let seen_by_dialer = established(dialer.state());
        assert_eq!(
            seen_by_dialer,
            Established {
                hello: hello(),
                version: VERSION,
                peer_process: 0xac,
                peer_rank: 1,
                peer_byte_position: 10
            }
        );
        assert_eq!(
            established(acceptor.state()),
            Established {
                peer_process: 0xd1,
                peer_rank: 3,
                peer_byte_position: 9,
                ..seen_by_dialer
            }
        );
    }
}

// P-40
#[test]
fn bytes_behind_the_handshake_are_left_to_the_link() {
    let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
    let with_frame = |bytes: Vec<u8>| [&bytes[..], b"KR, the first frame"].concat();

    let first = with_frame(dialer.output().expect("a hello"));
    let hello_bytes = first.len() - 19;
    assert_eq!(acceptor.feed(&first), hello_bytes);
    assert_eq!(acceptor.feed(b"more"), 0, "nothing is taken while the offer waits");
    assert_eq!(acceptor.wants(), 0);
    acceptor.accept(local(), token());
    assert_eq!(acceptor.wants(), ENVELOPE_BYTES);
    dialer.feed(&acceptor.output().expect("a challenge"));

    let proof = with_frame(dialer.output().expect("a proof"));
    assert_eq!(acceptor.feed(&proof), proof.len() - 19);
    assert_eq!((acceptor.feed(b"KR"), acceptor.wants()), (0, 0));
    let welcome = with_frame(acceptor.output().expect("a welcome"));
    assert_eq!(dialer.feed(&welcome), welcome.len() - 19);
    assert_eq!((dialer.feed(b"KR"), dialer.wants()), (0, 0));
    established(dialer.state());
}

// P-31. Found by the fuzz target `handshake`: a refusal once displaced the answer before it.
#[test]
fn what_is_said_does_not_depend_on_how_the_peers_bytes_were_split() {
    let said = |piece: usize| {
        let mut acceptor = Acceptor::new([2; 32]);
        acceptor.feed(&Dialer::new(hello(), token()).output().expect("a hello"));
        acceptor.accept(local(), token());
        let challenge = acceptor.output().expect("a challenge");
        let mut dialer = Dialer::new(hello(), token());
        let mut said = dialer.output().expect("a hello");
        // A challenge, and behind it one more, which is out of turn.
        for bytes in [&challenge[..], &challenge].concat().chunks(piece) {
            dialer.feed(bytes);
            said.extend(dialer.output().into_iter().flatten());
        }
        said
    };
    assert_eq!(said(usize::MAX), said(1));
}

// P-31
#[test]
fn reading_just_what_is_wanted_ends_at_the_handshakes_end() {
    let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
    let sent = dialer.output().expect("a hello");
    let mut rest = &sent[..];
    while acceptor.wants() > 0 {
        let (piece, left) = rest.split_at(acceptor.wants());
        assert_eq!(acceptor.feed(piece), piece.len());
        rest = left;
    }
    assert!(rest.is_empty() && matches!(acceptor.state(), State::Offered(_)));
}

// P-39
#[test]
fn a_disagreement_names_both_values_on_both_sides() {
    let cases: [(Hello, Local, ErrorKind, [&str; 2]); 7] = [
        (
            Hello { job: "other".to_owned(), ..hello() },
            local(),
            ErrorKind::Authentication,
            ["rank 3 (which dialled) belongs to job \"other\"", "to job \"digits\""],
        ),
        (
            Hello { world: 5, ..hello() },
            local(),
            ErrorKind::Rendezvous,
            ["world size 5", "rank 1 (which was dialled) with 4"],
        ),
        (
            Hello { peer_rank: 2, ..hello() },
            local(),
            ErrorKind::Rendezvous,
            ["dialled rank 2", "reached rank 1"],
        ),
        (
            Hello { rank: 1, ..hello() },
            local(),
            ErrorKind::Rendezvous,
            ["two processes call themselves rank 1: 0x00000000000000d1", "0x00000000000000ac"],
        ),
        (
            Hello { peer_process: 0xff, ..hello() },
            local(),
            ErrorKind::Rendezvous,
            ["dialled process 0x00000000000000ff", "reached process 0x00000000000000ac"],
        ),
        (
            Hello { checksums: false, ..hello() },
            local(),
            ErrorKind::Mismatch,
            ["without payload checksums", "rank 1 (which was dialled) with"],
        ),
        (
            hello(),
            Local { rank: 2, ..local() },
            ErrorKind::Rendezvous,
            ["dialled rank 1", "reached rank 2"],
        ),
    ];
    for (hello, local, kind, texts) in cases {
        let (dialer_rank, acceptor_rank) = (hello.rank, local.rank);
        let [dialer, acceptor] = disagree(hello, local, token());
        for error in [&dialer, &acceptor] {
            assert_eq!(error.kind(), kind, "{error}");
            for text in texts {
                assert!(error.message().contains(text), "{text:?} is missing in {error}");
            }
        }
        assert_eq!((dialer.rank(), acceptor.rank()), (Some(dialer_rank), Some(acceptor_rank)));
        assert_eq!(acceptor.peer(), Some(dialer_rank));
    }
}

// P-39
#[test]
fn the_dialer_does_not_rely_on_the_acceptors_comparison() {
    let good = Challenge {
        version: VERSION,
        checksums: true,
        world: 4,
        rank: 1,
        process: 0xac,
        byte_position: 0,
        nonce: [2; 32],
        job: "digits".to_owned(),
    };
    for (wrong, kind) in [
        (Challenge { job: "other".to_owned(), ..good.clone() }, ErrorKind::Authentication),
        (Challenge { world: 5, ..good.clone() }, ErrorKind::Rendezvous),
        (Challenge { rank: 2, ..good.clone() }, ErrorKind::Rendezvous),
        (Challenge { process: 1, ..good.clone() }, ErrorKind::Rendezvous),
        (Challenge { checksums: false, ..good }, ErrorKind::Mismatch),
    ] {
        let mut dialer = Dialer::new(hello(), token());
        dialer.output();
        dialer.feed(&seal(&Message::Challenge(wrong)));
        assert_eq!(failure(dialer.state()).kind(), kind);
        let refusal = dialer.output().expect("the acceptor is told");
        assert_eq!(refusal[2], 5);
    }
}

// P-34, P-37
#[test]
fn a_wrong_token_is_an_authentication_error_on_both_sides() {
    let [dialer, acceptor] = disagree(hello(), local(), Token::new("another token"));
    for error in [dialer, acceptor] {
        assert_eq!(error.kind(), ErrorKind::Authentication);
        for text in ["rank 3", "rank 1", "KIRSH_TOKEN_FILE"] {
            assert!(error.message().contains(text), "{text:?} is missing in {error}");
        }
    }
}

// P-35, P-37
#[test]
fn an_acceptor_that_cannot_prove_itself_is_found_out() {
    let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
    acceptor.feed(&dialer.output().expect("a hello"));
    acceptor.accept(local(), token());
    dialer.feed(&acceptor.output().expect("a challenge"));
    // It takes any proof, but has none. Sending the dialer's own back does not help: the labels
    // differ.
    let proof = dialer.output().expect("a proof");
    let mut echoed = [0; MAC_BYTES];
    echoed.copy_from_slice(&proof[ENVELOPE_BYTES..ENVELOPE_BYTES + MAC_BYTES]);
    dialer.feed(&seal(&Message::Welcome(echoed)));
    assert_eq!(failure(dialer.state()).kind(), ErrorKind::Authentication);
    assert_eq!(dialer.output(), None);
}

// P-37
#[test]
fn a_proof_recorded_earlier_is_worthless() {
    let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
    let (said, _) =
        shake(&mut dialer, &mut acceptor, 512, |acceptor| acceptor.accept(local(), token()));
    established(acceptor.state());
    // The same bytes again, to an acceptor that drew another nonce.
    let mut acceptor = Acceptor::new([3; 32]);
    let taken = acceptor.feed(&said);
    acceptor.accept(local(), token());
    acceptor.feed(&said[taken..]);
    assert_eq!(failure(acceptor.state()).kind(), ErrorKind::Authentication);
}

// P-36
#[test]
fn the_owners_refusal_reaches_the_dialer_with_kind_and_reason() {
    let (mut dialer, mut acceptor) = (Dialer::new(hello(), token()), Acceptor::new([2; 32]));
    shake(&mut dialer, &mut acceptor, 512, |acceptor| {
        acceptor.refuse(Error::new(ErrorKind::Closed, "communicator 7 was destroyed"));
    });
    assert_eq!(failure(acceptor.state()).kind(), ErrorKind::Closed);
    let error = failure(dialer.state());
    assert_eq!((error.kind(), error.rank(), error.peer()), (ErrorKind::Closed, Some(3), Some(1)));
    assert!(error.message().contains("rank 1 refused the link: communicator 7 was destroyed"));
}

// P-36
#[test]
fn a_refusals_text_is_bounded_and_harmless_to_a_terminal() {
    let refuse = |reason: String| {
        let mut dialer = Dialer::new(hello(), token());
        let message = seal(&Message::Refuse { kind: ErrorKind::Protocol, reason });
        assert!(message.len() <= HANDSHAKE_BYTES_MAX);
        dialer.feed(&message);
        failure(dialer.state()).message().to_owned()
    };
    let longest = "x".repeat(REFUSE_REASON_MAX);
    assert!(refuse(longest.clone()).ends_with(&format!(": {longest}")));
    assert!(refuse(longest.clone() + "y").ends_with(&format!(": {longest}")));
    assert!(refuse("a\u{1b}[2Jb\nc".to_owned()).ends_with("a\u{fffd}[2Jb\u{fffd}c"));
}

// P-38
#[test]
fn a_dialer_of_other_versions_is_told_both_ranges() {
    for (min, max) in [(2, 3), (0, 0), (VERSION + 1, u8::MAX)] {
        let mut acceptor = Acceptor::new([2; 32]);
        acceptor.feed(&seal(&Message::ForeignHello(Versions { min, max })));
        let error = failure(acceptor.state());
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let text = format!("versions {min} to {max}, the one that was dialled 1 to 1");
        assert!(error.message().contains(&text), "{error}");
        let mut dialer = Dialer::new(hello(), token());
        dialer.feed(&acceptor.output().expect("a refusal"));
        assert!(failure(dialer.state()).message().contains(&text));
    }
}

// P-38
#[test]
fn a_dialer_that_also_speaks_a_later_version_may_append_to_its_hello() {
    for (max, passes) in [(VERSION, false), (VERSION + 1, true)] {
        let mut body = Vec::new();
        Message::Hello(Versions { min: VERSION, max }, hello()).put_body(&mut body);
        body.extend_from_slice(b"later");
        assert_eq!(Message::parse(1, &body).is_ok(), passes);
    }
}

/// An envelope with this type and these body bytes, checksum put right.
fn raw(number: u8, body: &[u8]) -> Vec<u8> {
    let length = (body.len() as u16).to_le_bytes();
    let covered = [&[b'K', b'H', number, 0], &length[..], body].concat();
    [&covered[..], &crc32c(&covered).to_le_bytes()].concat()
}

fn outcome(bytes: &[u8]) -> Error {
    let mut acceptor = Acceptor::new([2; 32]);
    acceptor.feed(bytes);
    failure(acceptor.state())
}

// P-30
#[test]
fn a_broken_envelope_is_refused_before_its_body_is_waited_for() {
    let longest = raw(1, &[0; BODY_BYTES_MAX]);
    assert_eq!(longest.len(), HANDSHAKE_BYTES_MAX);
    let mut acceptor = Acceptor::new([2; 32]);
    acceptor.feed(&longest[..ENVELOPE_BYTES]);
    assert_eq!(acceptor.wants(), BODY_BYTES_MAX + CHECK_BYTES);

    for (bytes, text) in [
        (*b"KR\x01\0\0\0", "begins with"),
        (*b"KH\0\0\0\0", "message type"),
        (*b"KH\x06\0\0\0", "message type"),
        (*b"KH\x01\x01\0\0", "keeps at zero"),
        (*b"KH\x01\0\xf7\x01", "above the limit of 502"),
        (*b"KH\x01\0\xff\xff", "above the limit of 502"),
    ] {
        let error = outcome(&bytes);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert!(error.message().contains(text), "{text:?} is missing in {error}");
    }
}

// P-6, P-30
#[test]
fn each_flipped_bit_of_a_message_is_found() {
    let good = seal(&Message::Hello(Versions::OWN, hello()));
    for bit in ENVELOPE_BYTES * 8..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(outcome(&bytes).kind(), ErrorKind::Corrupt, "bit {bit}");
    }
}

// P-31
#[test]
fn messages_out_of_turn_are_refused() {
    let proof = seal(&Message::Proof([0; 32]));
    let welcome = seal(&Message::Welcome([0; 32]));
    assert!(outcome(&proof).message().contains("a proof where a hello belongs"));
    let mut dialer = Dialer::new(hello(), token());
    dialer.feed(&welcome);
    assert!(failure(dialer.state()).message().contains("a welcome where a challenge belongs"));
    let mut acceptor = Acceptor::new([2; 32]);
    let first = Dialer::new(hello(), token()).output().expect("a hello");
    acceptor.feed(&first);
    acceptor.accept(local(), token());
    acceptor.feed(&first);
    assert!(failure(acceptor.state()).message().contains("a hello where a proof belongs"));
}

// P-22, P-32
#[test]
fn a_hello_that_breaks_a_limit_is_refused_on_either_side() {
    let cases = |job: usize, world, rank, peer_rank| Hello {
        job: "j".repeat(job),
        world,
        rank,
        peer_rank,
        ..hello()
    };
    for (hello, passes) in [
        (cases(JOB_ID_MAX, WORLD_SIZE_MAX, WORLD_SIZE_MAX - 1, 0), true),
        (cases(JOB_ID_MAX + 1, 4, 3, 1), false),
        (cases(0, WORLD_SIZE_MAX + 1, 3, 1), false),
        (cases(0, 0, 3, 1), false),
        (cases(0, 4, 4, 1), false),
        (cases(0, 4, 3, 4), false),
    ] {
        let mut body = Vec::new();
        Message::Hello(Versions::OWN, hello.clone()).put_body(&mut body);
        // A job id above the limit would be cut while encoding: lengthen it by hand.
        if let Some(extra) = hello.job.len().checked_sub(JOB_ID_MAX).filter(|extra| *extra > 0) {
            body[88..90].copy_from_slice(&(hello.job.len() as u16).to_le_bytes());
            body.resize(body.len() + extra, b'j');
        }
        assert_eq!(Message::parse(1, &body).is_ok(), passes, "{hello:?}");
        let mut dialer = Dialer::new(hello, token());
        assert_eq!(dialer.output().is_some(), passes);
        assert_eq!(matches!(dialer.state(), State::InProgress), passes);
        if !passes {
            assert_eq!(failure(dialer.state()).kind(), ErrorKind::InvalidArgument);
        }
    }
}

fn any_message() -> impl Strategy<Value = Message> {
    let numbers = any::<(u64, u64, u64, u32, u64, u16, u16)>();
    let world = 1..=WORLD_SIZE_MAX;
    let lane = (1..=4u8).prop_filter_map("no such lane", Lane::from_u8);
    let hello = (
        numbers,
        world.clone(),
        any::<(u32, u32, bool)>(),
        lane,
        any::<Nonce>(),
        "[a-z0-9é]{0,60}",
    )
        .prop_map(|(numbers, world, (rank, peer_rank, checksums), lane, nonce, job)| Hello {
            job,
            world,
            process: numbers.0,
            peer_process: numbers.1,
            rank: rank % world,
            peer_rank: peer_rank % world,
            lane,
            channel: numbers.5,
            stripe: numbers.6,
            communicator: numbers.2,
            epoch: numbers.3,
            byte_position: numbers.4,
            checksums,
            nonce,
        });
    let challenge = (any::<(u64, u64, u32, bool)>(), world, any::<Nonce>(), "[a-z0-9é]{0,60}")
        .prop_map(|((process, byte_position, rank, checksums), world, nonce, job)| Challenge {
            version: VERSION,
            checksums,
            world,
            rank: rank % world,
            process,
            byte_position,
            nonce,
            job,
        });
    prop_oneof![
        hello.prop_map(|hello| Message::Hello(Versions::OWN, hello)),
        challenge.prop_map(Message::Challenge),
        any::<[u8; MAC_BYTES]>().prop_map(Message::Proof),
        any::<[u8; MAC_BYTES]>().prop_map(Message::Welcome),
        (crate::wire::strategies::kind(), "\\PC{0,60}")
            .prop_map(|(kind, reason)| Message::Refuse { kind, reason }),
    ]
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(message in any_message()) {
        let mut body = Vec::new();
        message.put_body(&mut body);
        prop_assert!(body.len() <= BODY_BYTES_MAX);
        prop_assert_eq!(Message::parse(message.number(), &body), Ok(message));
    }

    #[test]
    fn a_body_cut_anywhere_is_refused(message in any_message(), cut in any::<prop::sample::Index>()) {
        let mut body = Vec::new();
        message.put_body(&mut body);
        let len = cut.index(body.len());
        let error = Message::parse(message.number(), &body[..len]);
        let truncated = matches!(error, Err(WireError::Truncated { .. }));
        prop_assert!(truncated, "{:?}", error);
    }

    /// Envelope and checksum put right, so that what lies behind them is reached.
    #[test]
    fn no_body_panics_either_side(
        number in 0..7u8,
        start in proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..200),
    ) {
        let bytes = raw(number, &start);
        let mut acceptor = Acceptor::new([2; 32]);
        acceptor.feed(&bytes);
        acceptor.accept(local(), token());
        acceptor.feed(&bytes);
        let mut dialer = Dialer::new(hello(), token());
        dialer.feed(&bytes);
    }

    #[test]
    fn no_bytes_panic_either_side(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        Acceptor::new([2; 32]).feed(&bytes);
        Dialer::new(hello(), token()).feed(&bytes);
    }
}
