//! Which address a link is dialled at, and which stripes there are.

use super::super::facts::judge;
use super::*;
use crate::driver::local::Address;
use crate::driver::peer::{Rails, Way};
use crate::wire::handshake::{Hello, Lane};

/// Rank 0 of another host or of this one, with an address in each of two rails and a loopback one.
fn railed(host_id: u64) -> Peer {
    let addresses = ["10.1.0.1:7", "10.2.0.1:7", "127.0.0.1:7"].map(|text| text.parse().unwrap());
    Peer { host_id, addresses: addresses.into(), rail_of: vec![0, 1, ONE_RAIL], ..peer(0) }
}

// P-44, P-61
#[test]
fn a_link_takes_its_rail_first_and_another_only_if_it_may() {
    let (progress, _lane) = progress_of(1, DriverKind::Poll, vec![railed(2), peer(1)], Vec::new());
    let facts = &progress.facts;
    let [first, second, loopback]: [SocketAddr; 3] =
        facts.peers[0].addresses.clone().try_into().unwrap();
    let rails = |only| Rails { of: [1, 0].into(), only };
    let way = |stripe| rails(false).way(stripe);
    assert_eq!(way(3), Some(Way { rail: 0, only: false }));
    let at = |known, way| facts.addresses(0, known, way);
    assert_eq!(at(None, way(0)), [second, first]);
    // What was reached before matters among equals alone.
    assert_eq!(at(Some(first), way(2)), [second, first]);
    assert_eq!(at(None, way(1)), [first, second]);
    assert_eq!(at(Some(first), rails(true).way(0)), [second]);
    assert!(at(None, Some(Way { rail: 2, only: true })).is_empty(), "it has no such address");
    // What nobody says anything of.
    assert_eq!(at(None, None), [first, second]);
    assert_eq!(at(Some(second), None), [second, first]);
    facts.rail.store(1, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(at(Some(first), None), [second, first]);

    let (progress, _lane) = progress_of(1, DriverKind::Poll, vec![railed(1), peer(1)], Vec::new());
    let near = progress.facts.addresses(0, None, rails(true).way(0));
    assert_eq!(near, [loopback, first, second], "within a host there are no rails");
}

// P-44
#[test]
fn a_peer_of_this_host_may_have_a_unix_socket_and_another_never_has() {
    let number = peer(0).process_id;
    for (host, local_links, found) in [(1, true, true), (1, false, false), (2, true, false)] {
        let world = vec![railed(host), peer(1)];
        let (progress, _lane) = progress_with(1, DriverKind::Poll, world, Vec::new(), local_links);
        let address = progress.facts.local_address(0);
        assert_eq!(address, found.then_some(Address::Local(number)));
    }
}

// P-60
#[test]
fn a_hello_for_a_stripe_that_there_is_not_is_turned_down() {
    let (progress, _lane) = progress_of(1, DriverKind::Poll, vec![peer(0), peer(1)], Vec::new());
    let hello = |lane, stripe| Hello {
        job: progress.facts.job.clone(),
        world: 2,
        process: progress.facts.peers[0].process_id,
        peer_process: progress.facts.me().process_id,
        rank: 0,
        peer_rank: 1,
        lane,
        channel: 0,
        stripe,
        communicator: 7,
        epoch: 0,
        byte_position: 0,
        checksums: false,
        nonce: Default::default(),
    };
    let judged = |lane, stripe| judge(&progress.facts, &hello(lane, stripe)).map(drop);
    assert!(judged(Lane::Collective, 0).is_ok() && judged(Lane::Collective, 7).is_ok());
    assert!(judged(Lane::Control, 0).is_ok() && judged(Lane::Direct, 0).is_ok());
    for (lane, stripe) in
        [(Lane::Collective, 8), (Lane::Collective, 256), (Lane::Control, 1), (Lane::Direct, 1)]
    {
        let error = judged(lane, stripe).unwrap_err();
        assert_eq!((error.kind(), error.peer()), (ErrorKind::Protocol, Some(0)), "{error}");
    }
}
