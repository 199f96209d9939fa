//! A few ranks and the links between them, where everything that may happen next does so at random:
//! frames are taken, headers come, payloads come, operations start and expire, in any order that the
//! rules allow. Memory is checked as the kernel would use it: late, and only while it is lent.

use std::collections::{BTreeMap, VecDeque};

use super::super::{
    Action, Direct, HeldSlab, Landing, Received, Request, Settings, Side, Source, Tag, Ticket,
};
use crate::error::{Error, Result};
use crate::types::{DataType, Rank};
use crate::wire::DirectFrame;

/// Numbers that depend on nothing but their seed (SplitMix64, Steele and others, 2014).
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// A frame given out, and where its payload is.
type Sending = (DirectFrame, Option<(Ticket, u64)>);

/// Frames on their way, with their payload.
type Wire = VecDeque<(DirectFrame, Vec<u8>)>;

/// A receive, or a message that came: what the naive matcher knows of it.
#[derive(Clone, Debug)]
enum Word {
    Posted { ticket: Ticket, from: Source, tag: Tag },
    Came { from: Rank, tag: u32, number: u64 },
}

#[derive(Default)]
pub(super) struct Party {
    memory: BTreeMap<Ticket, Vec<u8>>,
    requests: BTreeMap<Ticket, Request>,
    slabs: BTreeMap<HeldSlab, Vec<u8>>,
    pub(super) slabs_max: usize,
    /// Given out and not yet taken.
    sending: BTreeMap<(Rank, Side), Sending>,
    /// A header that has come, and the payload behind it.
    coming: BTreeMap<(Rank, Side), (Landing, Vec<u8>)>,
    pub(super) finished: BTreeMap<Ticket, (Result<Option<Received>>, Vec<u8>)>,
    /// In order: what was posted and what came.
    words: Vec<Word>,
    pub(super) failed: Option<Error>,
}

pub(super) struct World {
    pub(super) ranks: Vec<Direct>,
    pub(super) parties: Vec<Party>,
    /// By who opened the link, to whom, and who sends.
    wires: BTreeMap<(Rank, Rank, Side), Wire>,
    dials: Vec<(Rank, Rank)>,
    pub(super) random: Random,
    pub(super) now_ns: u64,
}

pub(super) fn settings(rank: Rank, world: u32) -> Settings {
    let warn_after_ns = u64::MAX;
    Settings { rank, world, communicator: 9, epoch: 1, checksums: true, warn_after_ns }
}

impl World {
    pub(super) fn new(world: u32, seed: u64) -> Self {
        World {
            ranks: (0..world).map(|rank| Direct::new(settings(rank, world))).collect(),
            parties: (0..world).map(|_| Party::default()).collect(),
            wires: BTreeMap::new(),
            dials: Vec::new(),
            random: Random(seed),
            now_ns: 0,
        }
    }

    /// Sends bytes of this value.
    pub(super) fn send(&mut self, rank: Rank, to: Rank, tag: u32, value: u8, count: u64) -> Ticket {
        self.send_until(rank, to, tag, value, count, u64::MAX)
    }

    pub(super) fn send_until(
        &mut self,
        rank: Rank,
        to: Rank,
        tag: u32,
        value: u8,
        count: u64,
        deadline_ns: u64,
    ) -> Ticket {
        let dtype = DataType::Byte;
        if to == rank {
            let number = u64::MAX;
            self.parties[rank as usize].words.push(Word::Came { from: rank, tag, number });
        }
        let request = Request::Send { to, tag, dtype, count, deadline_ns };
        self.start(rank, request, vec![value; count as usize])
    }

    pub(super) fn receive(&mut self, rank: Rank, from: Source, tag: Tag, room: u64) -> Ticket {
        self.receive_until(rank, from, tag, room, u64::MAX)
    }

    pub(super) fn receive_until(
        &mut self,
        rank: Rank,
        from: Source,
        tag: Tag,
        room: u64,
        deadline_ns: u64,
    ) -> Ticket {
        let ticket = self.ranks[rank as usize].next_ticket();
        self.parties[rank as usize].words.push(Word::Posted { ticket, from, tag });
        let dtype = DataType::Byte;
        let request = Request::Receive { from, tag, dtype, count: room, deadline_ns };
        self.start(rank, request, vec![0xee; room as usize])
    }

    fn start(&mut self, rank: Rank, request: Request, memory: Vec<u8>) -> Ticket {
        let ticket = self.ranks[rank as usize].next_ticket();
        let party = &mut self.parties[rank as usize];
        party.memory.insert(ticket, memory);
        party.requests.insert(ticket, request);
        assert_eq!(self.ranks[rank as usize].start(request), ticket);
        self.act(rank);
        ticket
    }

    /// Does what a rank asks for.
    fn act(&mut self, rank: Rank) {
        let party = &mut self.parties[rank as usize];
        while let Some(action) = self.ranks[rank as usize].poll() {
            match action {
                Action::Dial { peer } => self.dials.push((rank, peer)),
                Action::Watch { .. } | Action::Warn { .. } => {}
                Action::Send { peer, side, frame, payload } => {
                    let old = party.sending.insert((peer, side), (frame, payload));
                    assert!(old.is_none(), "two frames at once on one link");
                }
                Action::Hold { from, slab, len } => {
                    let bytes = party.memory[&from][..len as usize].to_vec();
                    party.slabs.insert(slab, bytes);
                }
                Action::Deliver { slab, to, len } => {
                    let bytes = party.slabs[&slab][..len as usize].to_vec();
                    write(party, to, 0, &bytes);
                }
                Action::Move { from, to, len } => {
                    let bytes = party.memory[&from][..len as usize].to_vec();
                    write(party, to, 0, &bytes);
                }
                Action::Free { slab } => assert!(party.slabs.remove(&slab).is_some()),
                Action::Finish { ticket, result } => {
                    let memory = party.memory.remove(&ticket).expect("finished once");
                    for (_, payload) in party.sending.values() {
                        let lent = payload.is_some_and(|(other, _)| other == ticket);
                        assert!(!lent, "finished with a frame of it under way");
                    }
                    for (landing, _) in party.coming.values() {
                        let lent = matches!(landing, Landing::Place(other, _) if *other == ticket);
                        assert!(!lent, "finished with bytes coming into it");
                    }
                    party.finished.insert(ticket, (result, memory));
                }
                Action::Fail { error } => party.failed = Some(error),
            }
            party.slabs_max = party.slabs_max.max(party.slabs.len());
        }
    }

    /// Lets one thing happen that may. `false` when nothing can.
    pub(super) fn step(&mut self) -> bool {
        enum Event {
            Up(usize),
            Taken(Rank, Rank, Side),
            Header(Rank, Rank, Side),
            Payload(Rank, Rank, Side),
        }
        let mut events: Vec<Event> = (0..self.dials.len()).map(Event::Up).collect();
        for (rank, party) in (0..).zip(&self.parties) {
            for (peer, side) in party.sending.keys() {
                events.push(Event::Taken(rank, *peer, *side));
            }
            for (peer, side) in party.coming.keys() {
                events.push(Event::Payload(rank, *peer, *side));
            }
        }
        for ((opener, other, sender), frames) in &self.wires {
            let (reader, peer, side) = match sender {
                Side::Outward => (*other, *opener, Side::Inward),
                Side::Inward => (*opener, *other, Side::Outward),
            };
            let free = !self.parties[reader as usize].coming.contains_key(&(peer, side));
            if free && !frames.is_empty() {
                events.push(Event::Header(reader, peer, side));
            }
        }
        if events.is_empty() {
            return false;
        }
        let at = self.random.below(events.len() as u64) as usize;
        match events.swap_remove(at) {
            Event::Up(index) => {
                let (rank, peer) = self.dials.swap_remove(index);
                self.ranks[rank as usize].handle_link_up(peer, Side::Outward);
                self.act(rank);
                self.ranks[peer as usize].handle_link_up(rank, Side::Inward);
                self.act(peer);
            }
            Event::Taken(rank, peer, side) => self.taken(rank, peer, side),
            Event::Header(rank, peer, side) => self.header(rank, peer, side),
            Event::Payload(rank, peer, side) => {
                let party = &mut self.parties[rank as usize];
                let (landing, payload) = party.coming.remove(&(peer, side)).expect("listed");
                match landing {
                    Landing::Place(ticket, offset) => write(party, ticket, offset, &payload),
                    Landing::Slab(slab) => drop(party.slabs.insert(slab, payload)),
                    Landing::Nothing => assert!(payload.is_empty()),
                    Landing::Drop => {}
                    Landing::Refused => panic!("refused: {:?}", party.failed),
                }
                party.slabs_max = party.slabs_max.max(party.slabs.len());
                self.ranks[rank as usize].handle_payload(peer, side, true);
                self.act(rank);
            }
        }
        true
    }

    fn taken(&mut self, rank: Rank, peer: Rank, side: Side) {
        let party = &mut self.parties[rank as usize];
        let (frame, payload) = party.sending.remove(&(peer, side)).expect("listed");
        assert_eq!(DirectFrame::decode(&frame.encode()), Ok(frame));
        // Read as late as the kernel might.
        let bytes = payload.map_or(Vec::new(), |(ticket, offset)| {
            let end = offset as usize + frame.length as usize;
            party.memory[&ticket][offset as usize..end].to_vec()
        });
        assert_eq!(bytes.len(), frame.length as usize);
        let (opener, other) = if side == Side::Outward { (rank, peer) } else { (peer, rank) };
        self.wires.entry((opener, other, side)).or_default().push_back((frame, bytes));
        self.ranks[rank as usize].handle_sent(peer, side);
        self.act(rank);
    }

    fn header(&mut self, rank: Rank, peer: Rank, side: Side) {
        let key = match side {
            Side::Inward => (peer, rank, Side::Outward),
            Side::Outward => (rank, peer, Side::Inward),
        };
        let (frame, payload) = self.wires.get_mut(&key).expect("a wire").pop_front().expect("one");
        use crate::wire::FrameKind::{Announce, Eager};
        if matches!(frame.kind, Eager | Announce) {
            let word = Word::Came { from: peer, tag: frame.tag, number: frame.sequence };
            self.parties[rank as usize].words.push(word);
        }
        let landing = self.ranks[rank as usize].handle_frame(peer, side, &frame);
        self.parties[rank as usize].coming.insert((peer, side), (landing, payload));
        self.act(rank);
    }

    /// Lets happen what can, until nothing can.
    pub(super) fn settle(&mut self) {
        while self.step() {}
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, ns: u64) {
        self.now_ns += ns;
        for rank in 0..self.ranks.len() {
            self.ranks[rank].handle_tick(self.now_ns);
            self.act(rank as Rank);
        }
    }

    /// What has become of an operation that must be over, and its buffer.
    pub(super) fn outcome(
        &self,
        rank: Rank,
        ticket: Ticket,
    ) -> &(Result<Option<Received>>, Vec<u8>) {
        &self.parties[rank as usize].finished[&ticket]
    }

    /// Nothing is left anywhere.
    pub(super) fn check_clean(&self) {
        for (rank, party) in self.ranks.iter().zip(&self.parties) {
            assert!(party.failed.is_none(), "{:?}", party.failed);
            assert!(party.memory.is_empty(), "operations that never ended");
            assert!(party.slabs.is_empty(), "slabs that were never freed");
            assert!(rank.is_idle());
        }
    }
}

impl Party {
    /// Who was to receive what, by the plainest matcher there is: two lists, searched from the front.
    pub(super) fn expected(&self) -> BTreeMap<Ticket, (Rank, u32)> {
        let mut posted: Vec<(Ticket, Source, Tag)> = Vec::new();
        let mut came: Vec<(Rank, u32, u64)> = Vec::new();
        let mut pairs = BTreeMap::new();
        let fits = |from: Source, tag: Tag, peer: Rank, own: u32| {
            (from == Source::Any || from == Source::Rank(peer))
                && (tag == Tag::Any || tag == Tag::Is(own))
        };
        for word in &self.words {
            match *word {
                Word::Posted { ticket, from, tag } => {
                    match came.iter().position(|(peer, own, _)| fits(from, tag, *peer, *own)) {
                        Some(at) => {
                            let (peer, own, _) = came.remove(at);
                            pairs.insert(ticket, (peer, own));
                        }
                        None => posted.push((ticket, from, tag)),
                    }
                }
                Word::Came { from: peer, tag: own, number } => {
                    match posted.iter().position(|(_, from, tag)| fits(*from, *tag, peer, own)) {
                        Some(at) => {
                            let (ticket, ..) = posted.remove(at);
                            pairs.insert(ticket, (peer, own));
                        }
                        None => came.push((peer, own, number)),
                    }
                }
            }
        }
        pairs
    }
}

fn write(party: &mut Party, ticket: Ticket, offset: u64, bytes: &[u8]) {
    let memory = party.memory.get_mut(&ticket).expect("memory that is lent");
    memory[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
}
