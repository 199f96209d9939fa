//! The wire format as files: a change of a single byte shows up as a difference here, and in
//! `python/tests/test_wire_vectors.py`, which decodes the same file with code of its own.
//!
//! `KIRSH_BLESS=1 cargo test -p kirsh-core --test wire_golden` writes the file anew. A difference
//! that old processes cannot read needs a new protocol version (P-3).

use std::fmt::Write as _;
use std::path::PathBuf;

use kirsh_core::reduce::Codec;
use kirsh_core::wire::auth::Token;
use kirsh_core::wire::checksum::Checksum;
use kirsh_core::wire::handshake::{Acceptor, Dialer, Hello, Lane, Local, State};
use kirsh_core::wire::{ControlReader, DirectFrame, FrameKind, Header, Message, plan_key};
use kirsh_core::{Algorithm, Call, Collective, DataType, Error, ErrorKind, ReduceOp, Wire};

const ALLREDUCE: Call = Call {
    collective: Collective::Allreduce,
    algorithm: Algorithm::RecursiveDoubling,
    dtype: DataType::Bfloat16,
    op: ReduceOp::Avg,
    root: 0,
    count: 0x0000_1234_5678_9abc,
    wire: Wire::Plain,
};
const BROADCAST: Call = Call {
    collective: Collective::Broadcast,
    algorithm: Algorithm::Chain,
    dtype: DataType::Float32,
    op: ReduceOp::Sum,
    root: 0x0102_0304,
    count: 262_144,
    wire: Wire::Plain,
};
const SCAN: Call = Call {
    collective: Collective::Scan,
    algorithm: Algorithm::Chain,
    dtype: DataType::Complex128,
    op: ReduceOp::Prod,
    root: 0,
    count: 77,
    wire: Wire::Plain,
};
const ALLTOALL: Call = Call {
    collective: Collective::Alltoall,
    algorithm: Algorithm::Pairwise,
    dtype: DataType::Float8E5m2,
    op: ReduceOp::Sum,
    root: 0,
    count: 4096,
    wire: Wire::Plain,
};
const BARRIER: Call = Call {
    collective: Collective::Barrier,
    algorithm: Algorithm::Dissemination,
    dtype: DataType::Byte,
    op: ReduceOp::Sum,
    root: 0,
    count: 0,
    wire: Wire::Plain,
};

/// The vectors as JSON, one per line, bytes in hex beside what they mean.
struct Vectors(Vec<String>);

impl Vectors {
    /// `fields` are names and values, the values as JSON.
    fn push(&mut self, kind: &str, name: &str, bytes: &[u8], fields: &[(&str, String)]) {
        let mut line = format!("{{\"kind\": {kind:?}, \"name\": {name:?}, \"hex\": \"");
        bytes.iter().for_each(|byte| write!(line, "{byte:02x}").expect("writing to a string"));
        line.push_str("\", \"fields\": {");
        for (i, (field, value)) in fields.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(line, "{comma}{field:?}: {value}").expect("writing to a string");
        }
        line.push_str("}}");
        self.0.push(line);
    }

    fn text(&self) -> String {
        format!("[\n{}\n]\n", self.0.join(",\n"))
    }
}

fn text(value: &str) -> String {
    format!("{value:?}")
}

fn option(value: Option<impl ToString>) -> String {
    value.map_or("null".to_owned(), |value| value.to_string())
}

fn hex(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn call_json(call: &Call) -> String {
    format!(
        "{{\"collective\": \"{}\", \"algorithm\": \"{}\", \"dtype\": \"{}\", \"op\": \"{}\", \
         \"root\": {}, \"count\": {}, \"wire\": \"{}\"}}",
        call.collective, call.algorithm, call.dtype, call.op, call.root, call.count, call.wire
    )
}

/// An allreduce whose elements travel as int8.
const ENCODED: Call = Call {
    algorithm: Algorithm::HalvingDoubling,
    dtype: DataType::Float32,
    wire: Wire::Int8,
    ..ALLREDUCE
};

fn push_header(vectors: &mut Vectors, name: &str, header: &Header, payload: &[u8]) {
    let mut bytes = header.encode().to_vec();
    // The way back, from the very bytes that the file holds.
    assert_eq!(Header::decode(&header.encode()), Ok(*header), "{name}");
    if !payload.is_empty() {
        assert_eq!(header.length as usize, payload.len());
        bytes.extend_from_slice(payload);
        let mut checksum = Checksum::new();
        payload.chunks(7).for_each(|piece| checksum.update(piece));
        bytes.extend_from_slice(&checksum.trailer());
    }
    let kind = if payload.is_empty() { "header" } else { "frame" };
    vectors.push(
        kind,
        name,
        &bytes,
        &[
            ("kind", text(header.kind.name())),
            ("communicator", header.communicator.to_string()),
            ("epoch", header.epoch.to_string()),
            ("step", header.step.to_string()),
            ("sequence", header.sequence.to_string()),
            ("key", header.key.to_string()),
            ("length", header.length.to_string()),
            ("call", header.call.as_ref().map_or("null".to_owned(), call_json)),
            ("checksummed", header.checksummed.to_string()),
        ],
    );
}

fn headers(vectors: &mut Vectors) {
    let wide = Header {
        kind: FrameKind::Collective,
        communicator: 0x0102_0304_0506_0708,
        epoch: 0x1112_1314,
        step: 0x2122_2324,
        sequence: 0x3132_3334_3536_3738,
        key: 0xfedc_ba98_7654_3210,
        length: 1 << 20,
        call: Some(ALLREDUCE),
        checksummed: true,
    };
    push_header(vectors, "every field its own bytes", &wide, &[]);
    let first = Header {
        kind: FrameKind::Collective,
        communicator: 1,
        epoch: 0,
        step: 0,
        sequence: 0,
        key: plan_key(&BARRIER, 2, 1 << 20, 1, 1, &[]),
        length: 0,
        call: Some(BARRIER),
        checksummed: false,
    };
    push_header(vectors, "the first frame of a barrier", &first, &[]);
    let payload: Vec<u8> = (0..=255).collect();
    let framed = Header {
        key: plan_key(&BROADCAST, 4, 1 << 18, 1, 1, &[]),
        length: payload.len() as u32,
        call: Some(BROADCAST),
        checksummed: true,
        step: 3,
        sequence: 17,
        ..first
    };
    push_header(vectors, "a slice with its checksum", &framed, &payload);
    let encoded = Header {
        key: plan_key(&ENCODED, 4, 1 << 18, 1, 1, &[]),
        length: 260,
        call: Some(ENCODED),
        ..first
    };
    push_header(vectors, "a block that travels as int8", &encoded, &[]);
    let control = Header {
        kind: FrameKind::Control,
        communicator: 0,
        epoch: 0,
        step: 0,
        sequence: 0,
        key: 0,
        length: 4096,
        call: None,
        checksummed: true,
    };
    push_header(vectors, "the longest control frame", &control, &[]);
}

fn direct_frames(vectors: &mut Vectors) {
    let of =
        |kind, checksummed| DirectFrame::new(kind, 0x0102_0304_0506_0708, 0x1112_1314, checksummed);
    let sequence = 0x3132_3334_3536_3738;
    let tag = 0x4142_4344;
    let payload: Vec<u8> = (1..=24).collect();
    let eager = DirectFrame {
        sequence,
        tag,
        length: 24,
        count: 3,
        dtype: DataType::Float64,
        ..of(FrameKind::Eager, true)
    };
    let nothing = DirectFrame { length: 0, count: 0, ..eager };
    let count = 0x0000_1234_5678_9abc;
    let announce = DirectFrame {
        sequence,
        tag,
        count,
        dtype: DataType::Float32,
        ..of(FrameKind::Announce, false)
    };
    let data = of(FrameKind::Data, true);
    for (name, frame, payload) in [
        ("a short message", eager, &payload[..]),
        ("an empty message", nothing, &[]),
        ("an announcement", announce, &[]),
        ("a clear", DirectFrame { sequence, count, ..of(FrameKind::Clear, true) }, &[]),
        ("a slice", DirectFrame { sequence, step: 0x2122_2324, length: 24, ..data }, &payload),
        ("a withdrawal", DirectFrame { sequence, ..of(FrameKind::Withdraw, true) }, &[]),
        ("a credit", DirectFrame { sequence, count, ..of(FrameKind::Credit, false) }, &[]),
    ] {
        let mut bytes = frame.encode().to_vec();
        assert_eq!(DirectFrame::decode(&frame.encode()), Ok(frame), "{name}");
        bytes.extend_from_slice(payload);
        if frame.checksummed {
            let mut checksum = Checksum::new();
            checksum.update(payload);
            bytes.extend_from_slice(&checksum.trailer());
        }
        vectors.push(
            "direct",
            name,
            &bytes,
            &[
                ("kind", text(frame.kind.name())),
                ("communicator", frame.communicator.to_string()),
                ("epoch", frame.epoch.to_string()),
                ("step", frame.step.to_string()),
                ("sequence", frame.sequence.to_string()),
                ("length", frame.length.to_string()),
                ("tag", frame.tag.to_string()),
                ("count", frame.count.to_string()),
                ("dtype", text(frame.dtype.name())),
                ("checksummed", frame.checksummed.to_string()),
            ],
        );
    }
}

fn keys(vectors: &mut Vectors) {
    let gathering = Call { collective: Collective::Allgatherv, ..ALLREDUCE };
    let counts: &[u64] = &[0, ALLREDUCE.count - 1, 1];
    for (name, call, world, slice, channels, stripes, counts) in [
        ("allreduce", ALLREDUCE, 4, 1 << 20, 1, 1, &[][..]),
        ("broadcast", BROADCAST, 65_536, 1 << 18, 2, 3, &[]),
        ("barrier", BARRIER, 2, 1 << 20, 1, 1, &[]),
        ("scan of complex numbers", SCAN, 5, 1 << 18, 1, 1, &[]),
        ("alltoall of floats of 8 bits", ALLTOALL, 8, 1 << 18, 1, 1, &[]),
        ("allgatherv with counts", gathering, 3, 1 << 20, 1, 1, counts),
        ("allreduce that travels as int8", ENCODED, 4, 1 << 18, 1, 1, &[]),
    ] {
        vectors.push(
            "key",
            name,
            &plan_key(&call, world, slice, channels, stripes, counts).to_le_bytes(),
            &[
                ("call", call_json(&call)),
                ("world", world.to_string()),
                ("slice", slice.to_string()),
                ("channels", channels.to_string()),
                ("stripes", stripes.to_string()),
                ("counts", format!("{counts:?}")),
            ],
        );
    }
}

/// Encoded elements, and the bits of what they decode to.
fn encodings(vectors: &mut Vectors) {
    // A whole block, and the beginning of another.
    let mut values: Vec<f32> = (0..258).map(|at| (at as f32 - 100.0) / 7.0).collect();
    values.extend([0.0, -0.0, 1e-40, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -3.5]);
    let source: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    for wire in [Wire::Bf16, Wire::F16, Wire::Int8] {
        let codec = Codec::portable(wire).expect("a wire format");
        let mut encoding = vec![0; wire.encoded(source.len() as u64) as usize];
        let mut decoded = vec![0; source.len()];
        // SAFETY: the encoding is as long as that of the source, and what is decoded as long as that.
        unsafe {
            codec.encode(source.as_ptr(), encoding.as_mut_ptr(), values.len());
        }
        // SAFETY: as above.
        unsafe { codec.decode(encoding.as_ptr(), decoded.as_mut_ptr(), 0, values.len()) };
        let bits: Vec<u32> =
            decoded.as_chunks().0.iter().map(|raw| u32::from_le_bytes(*raw)).collect();
        let fields = [("wire", text(wire.name())), ("bits", format!("{bits:?}"))];
        vectors.push("encoding", wire.name(), &encoding, &fields);
    }
}

fn fields_of(message: &Message) -> Vec<(&'static str, String)> {
    let kind_json = |kind: &ErrorKind| text(kind.name());
    match message {
        Message::Heartbeat => vec![("type", text("heartbeat"))],
        Message::Stalled { communicator, epoch, origin, to, sequence, key, call, blame } => vec![
            ("type", text("stalled")),
            ("communicator", communicator.to_string()),
            ("epoch", epoch.to_string()),
            ("origin", origin.to_string()),
            ("to", to.to_string()),
            ("sequence", sequence.to_string()),
            ("key", key.to_string()),
            ("call", call_json(call)),
            ("blame", blame.to_string()),
        ],
        Message::Refused { communicator, epoch, origin, sequence, call, kind, reason } => vec![
            ("type", text("refused")),
            ("communicator", communicator.to_string()),
            ("epoch", epoch.to_string()),
            ("origin", origin.to_string()),
            ("sequence", sequence.to_string()),
            ("call", call_json(call)),
            ("error", kind_json(kind)),
            ("reason", text(reason)),
        ],
        Message::Abort { communicator, epoch, origin, sequence, about, kind, reason } => vec![
            ("type", text("abort")),
            ("communicator", communicator.to_string()),
            ("epoch", epoch.to_string()),
            ("origin", origin.to_string()),
            ("sequence", option(*sequence)),
            ("about", option(*about)),
            ("error", kind_json(kind)),
            ("reason", text(reason)),
        ],
        Message::Goodbye { origin, finished } => {
            let entries: Vec<_> = finished
                .iter()
                .map(|(id, epoch, count)| format!("[{id}, {epoch}, {count}]"))
                .collect();
            vec![
                ("type", text("goodbye")),
                ("origin", origin.to_string()),
                ("finished", format!("[{}]", entries.join(", "))),
            ]
        }
    }
}

fn messages(vectors: &mut Vectors) {
    let abort = |sequence, about, kind, reason: &str| Message::Abort {
        communicator: 0x0102_0304_0506_0708,
        epoch: 9,
        origin: 10,
        sequence,
        about,
        kind,
        reason: reason.to_owned(),
    };
    for (name, message) in [
        ("heartbeat", Message::Heartbeat),
        (
            "stalled",
            Message::Stalled {
                communicator: 0x0102_0304_0506_0708,
                epoch: 0x1112_1314,
                origin: 0x2122,
                to: 0x3132,
                sequence: 0x4142_4344_4546_4748,
                key: 0x5152_5354_5556_5758,
                call: ALLREDUCE,
                blame: 0x6162,
            },
        ),
        (
            "stalled in a call that travels as int8",
            Message::Stalled {
                communicator: 1,
                epoch: 0,
                origin: 2,
                to: 3,
                sequence: 4,
                key: plan_key(&ENCODED, 4, 1 << 18, 1, 1, &[]),
                call: ENCODED,
                blame: 3,
            },
        ),
        (
            "refused, with a count that cannot be",
            Message::Refused {
                communicator: 1,
                epoch: 2,
                origin: 3,
                sequence: 4,
                call: Call { count: u64::MAX, ..BROADCAST },
                kind: ErrorKind::InvalidArgument,
                reason: "the buffer is read-only: naïve".to_owned(),
            },
        ),
        ("abort", abort(Some(11), Some(12), ErrorKind::PeerLost, "rank 12 is gone")),
        ("abort of no operation and nobody's fault", abort(None, None, ErrorKind::Aborted, "")),
        ("goodbye to nobody", Message::Goodbye { origin: 5, finished: vec![] }),
        (
            "goodbye",
            Message::Goodbye {
                origin: 6,
                finished: vec![(7, 8, 9), (u64::MAX, u32::MAX, 1 << 40)],
            },
        ),
    ] {
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        vectors.push("message", name, &bytes, &fields_of(&message));
        let mut reader = ControlReader::new();
        reader.feed(&bytes);
        assert_eq!(reader.next(), Ok(Some(message)), "{name}");
        assert_eq!((reader.next(), reader.pending()), (Ok(None), 0), "{name}");
    }
}

fn handshake(vectors: &mut Vectors) {
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
    let local = Local {
        job: hello.job.clone(),
        world: hello.world,
        process: hello.peer_process,
        rank: hello.peer_rank,
        byte_position: 0x9192_9394_9596_9798,
        checksums: true,
    };
    let nonce = std::array::from_fn(|i| 0xff - i as u8);
    let token = Token::new("a token for vectors");
    let mut dialer = Dialer::new(hello.clone(), token.clone());
    let mut acceptor = Acceptor::new(nonce);

    let said = dialer.output().expect("a hello");
    acceptor.feed(&said);
    vectors.push(
        "handshake",
        "hello",
        &said,
        &[
            ("type", text("hello")),
            ("versions", "[1, 1]".to_owned()),
            ("lane", text(hello.lane.name())),
            ("checksums", "true".to_owned()),
            ("world", hello.world.to_string()),
            ("rank", hello.rank.to_string()),
            ("peer_rank", hello.peer_rank.to_string()),
            ("process", hello.process.to_string()),
            ("peer_process", hello.peer_process.to_string()),
            ("communicator", hello.communicator.to_string()),
            ("epoch", hello.epoch.to_string()),
            ("channel", hello.channel.to_string()),
            ("stripe", hello.stripe.to_string()),
            ("byte_position", hello.byte_position.to_string()),
            ("nonce", hex(&hello.nonce)),
            ("job", text(&hello.job)),
        ],
    );
    acceptor.accept(local.clone(), token.clone());
    let said = acceptor.output().expect("a challenge");
    dialer.feed(&said);
    vectors.push(
        "handshake",
        "challenge",
        &said,
        &[
            ("type", text("challenge")),
            ("version", "1".to_owned()),
            ("checksums", "true".to_owned()),
            ("world", local.world.to_string()),
            ("rank", local.rank.to_string()),
            ("process", local.process.to_string()),
            ("byte_position", local.byte_position.to_string()),
            ("nonce", hex(&nonce)),
            ("job", text(&local.job)),
        ],
    );
    let said = dialer.output().expect("a proof");
    acceptor.feed(&said);
    let token_json = text(std::str::from_utf8(token.secret()).expect("the token is text"));
    vectors.push(
        "handshake",
        "proof",
        &said,
        &[("type", text("proof")), ("token", token_json.clone())],
    );
    let said = acceptor.output().expect("a welcome");
    dialer.feed(&said);
    vectors.push(
        "handshake",
        "welcome",
        &said,
        &[("type", text("welcome")), ("token", token_json)],
    );
    for state in [dialer.state(), acceptor.state()] {
        assert!(matches!(state, State::Established(_)), "{state:?}");
    }

    let mut dialer = Dialer::new(hello, token);
    let mut acceptor = Acceptor::new(nonce);
    acceptor.feed(&dialer.output().expect("a hello"));
    acceptor.refuse(Error::new(ErrorKind::Closed, "communicator 5 is gone"));
    let said = acceptor.output().expect("a refusal");
    dialer.feed(&said);
    assert!(matches!(dialer.state(), State::Failed(error) if error.kind() == ErrorKind::Closed));
    vectors.push(
        "handshake",
        "refusal",
        &said,
        &[
            ("type", text("refusal")),
            ("error", text("closed")),
            ("reason", text("communicator 5 is gone")),
        ],
    );
}

#[test]
fn the_wire_format_is_that_of_the_golden_file() {
    let mut vectors = Vectors(Vec::new());
    headers(&mut vectors);
    direct_frames(&mut vectors);
    keys(&mut vectors);
    messages(&mut vectors);
    handshake(&mut vectors);
    encodings(&mut vectors);

    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/wire.json");
    if std::env::var_os("KIRSH_BLESS").is_some() {
        std::fs::write(&path, vectors.text()).expect("writing the golden file");
    }
    let golden = std::fs::read_to_string(&path).expect("reading the golden file");
    for (line, (new, old)) in vectors.text().lines().zip(golden.lines()).enumerate() {
        assert_eq!(new, old, "line {} of {} differs", line + 1, path.display());
    }
    assert_eq!(vectors.text(), golden, "{} is longer or shorter", path.display());
}
