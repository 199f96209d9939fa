//! Nothing that a store or a peer says makes a decoder panic, and what one side writes the other
//! reads.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::{joiner, token};
use crate::error::ErrorKind;
use crate::limits;
use crate::rendezvous::codec::clip;
use crate::rendezvous::published::{Meta, Seal, Verdict, decode_record, encode_record};
use crate::rendezvous::rails::Place;
use crate::rendezvous::tcp_wire::{
    Answer, FRONT_BYTES, HEADER_BYTES, Hello, ReplyHeader, Request, RequestHeader, Status,
};
use crate::rendezvous::{Member, Table};
use crate::wire::auth::Token;

prop_compose! {
    fn member()(
        rank in any::<u32>(),
        process_id in any::<u64>(),
        host_id in any::<u64>(),
        cores in any::<u32>(),
        pid in any::<u32>(),
        host_name in "[a-zäß.-]{0,30}",
        addresses in prop::collection::vec(any::<(std::net::IpAddr, u16)>(), 0..=16),
    ) -> Member {
        let addresses: Vec<_> = addresses.into_iter().map(SocketAddr::from).collect();
        let place = |at: usize| Place { prefix: pid as u8, interface: at as u8 };
        let places = (0..addresses.len()).map(place).collect();
        Member { rank, process_id, host_id, cores, pid, host_name, addresses, places }
    }
}

prop_compose! {
    fn table()(
        members in prop::collection::vec(member(), 0..20),
        communicator_id in any::<u64>(),
        epoch in any::<u32>(),
        handout in prop::collection::vec(any::<u8>(), 0..100),
    ) -> Table {
        let numbered = (0..).zip(members).map(|(rank, member)| Member { rank, ..member });
        let secret = token("0123456789abcdef");
        Table { ranks: numbered.collect(), secret, communicator_id, epoch, handout }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let secret = Token::new("0123456789abcdef");
        let _ = Meta::decode(&bytes, 1);
        let _ = Meta::decode(&bytes, u16::from_le_bytes([*bytes.first().unwrap_or(&0), 0]));
        let _ = decode_record(&bytes);
        let _ = Verdict::decode(&bytes, None);
        let _ = Verdict::decode(&bytes, Some(&secret));
        let _ = Hello::decode(&bytes);
        let _ = Answer::decode(&bytes, 1);
        let _ = Answer::decode(&bytes, 2);
        let _ = Seal::new(&joiner(0, 1)).open("label", &bytes);
        if let Some(front) = bytes.first_chunk::<FRONT_BYTES>() {
            let _ = Hello::read_front(front);
            let _ = Answer::read_front(front);
        }
        if let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
            let _ = ReplyHeader::decode(header);
            if let Some(header) = RequestHeader::decode(header) {
                prop_assert!(header.key_len <= limits::STORE_KEY_MAX);
                prop_assert!(header.value_len <= limits::STORE_VALUE_MAX);
            }
        }
    }

    #[test]
    fn no_change_of_one_byte_makes_a_table_decoder_panic(
        table in table(), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut bytes = Verdict::Formed(table).encode(None);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Verdict::decode(&bytes, None);
        let _ = Verdict::decode(&bytes[..at], None);
    }

    #[test]
    fn members_and_tables_come_back_as_they_went(member in member(), table in table()) {
        prop_assert_eq!(decode_record(&encode_record(&member)), Some(member));
        let formed = Verdict::Formed(table.clone());
        prop_assert_eq!(Verdict::decode(&formed.encode(None), None), Some(formed.clone()));
        let sealed = formed.encode(Some(&table.secret));
        prop_assert_eq!(Verdict::decode(&sealed, Some(&table.secret)), Some(formed));
    }

    #[test]
    fn reasons_come_back_cut_to_their_bound(text in "\\PC{0,600}") {
        let error = crate::error::Error::new(ErrorKind::Timeout, text.clone());
        let verdict = Verdict::failed(&error);
        let kind = ErrorKind::Timeout;
        let text = clip(&text, limits::REASON_BYTES_MAX).to_owned();
        prop_assert_eq!(
            Verdict::decode(&verdict.encode(None), None),
            Some(Verdict::Failed { kind, text })
        );
    }
}

#[test]
fn a_table_with_a_rank_out_of_place_is_refused() {
    let me = joiner(1, 2).member();
    let table = Table {
        ranks: vec![me],
        secret: token("0123456789abcdef"),
        communicator_id: 1,
        epoch: 0,
        handout: Vec::new(),
    };
    assert_eq!(Verdict::decode(&Verdict::Formed(table).encode(None), None), None);
}

#[test]
fn a_table_without_a_secret_is_refused_where_there_is_no_token() {
    let table = Table::alone(&joiner(0, 1)).unwrap();
    let secret = table.secret.clone();
    let without = Verdict::Formed(table).encode(Some(&secret));
    assert_eq!(Verdict::decode(&without, None), None);
}

#[test]
fn request_lengths_are_held_against_the_limits_on_both_sides() {
    let set = |key_len, value_len| RequestHeader {
        request: Request::Set,
        key_len,
        value_len,
        argument: -3,
    };
    let read =
        |header: &RequestHeader| RequestHeader::decode(header.encode().first_chunk().unwrap());
    let largest = set(limits::STORE_KEY_MAX, limits::STORE_VALUE_MAX);
    assert_eq!(read(&largest), Some(largest));
    assert_eq!(read(&set(limits::STORE_KEY_MAX + 1, 0)), None);
    assert_eq!(read(&set(0, 0)), None);
    assert_eq!(read(&set(1, limits::STORE_VALUE_MAX + 1)), None);
    let get = RequestHeader { request: Request::Get, ..set(1, 1) };
    assert_eq!(read(&get), None, "only set has a value");

    let reply = |value_len| ReplyHeader { status: Status::Absent, value_len, number: i64::MIN };
    let read = |reply: ReplyHeader| ReplyHeader::decode(reply.encode().first_chunk().unwrap());
    assert_eq!(read(reply(limits::STORE_VALUE_MAX)), Some(reply(limits::STORE_VALUE_MAX)));
    assert_eq!(read(reply(limits::STORE_VALUE_MAX + 1)), None);
}

#[test]
fn a_refusal_is_readable_in_any_version() {
    let answer =
        Answer { refusal: "no".to_owned(), job: "job".to_owned(), nonce: [1; 32], proof: [2; 32] };
    let bytes = answer.encode();
    let body = &bytes[FRONT_BYTES..];
    assert_eq!(Answer::decode(body, 1).unwrap(), answer);
    assert_eq!(Answer::decode(body, 9).unwrap().refusal, "no");
}
