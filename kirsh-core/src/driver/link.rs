//! One connection: the frame that is being sent and the one that is being received.
//!
//! What the kernel reads and writes by itself while an operation is in flight is in memory of its
//! own, behind a pointer: no reference of ours to a link claims that it stays as it is.

use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr::NonNull;

use super::array::{Array, Place};
use super::fork::Fd;
use super::io::{Io, Op};
use super::socket;
use super::zero_copy::{Lending, ZeroCopy};
use crate::limits::{STRIPES_MAX, WORLD_SIZE_MAX};
use crate::session::{SlabId, Slot};
use crate::types::Rank;
use crate::wire::checksum::Checksum;
use crate::wire::header::{HEADER_BYTES, Header, TRAILER_BYTES};

/// Runs of memory that one message names at most: the header, the trailer and 62 pieces of payload.
/// The kernel takes up to 1024, but copies the list each time.
const VECTORS_MAX: usize = 64;

/// Where the payload of no frame is.
pub(crate) const NOWHERE: Place = Place::new(Array::One(std::ptr::null_mut()), 0, 0);

/// A connection to one peer, for one lane.
pub(crate) struct Link {
    pub(crate) fd: Fd,
    pub(crate) sending: Transfer,
    pub(crate) receiving: Transfer,
    /// The received header has been found to be the one that was due.
    pub(crate) header_seen: bool,
    pub(crate) slab: Option<SlabId>,
    pub(crate) lending: Lending,
}

/// What is the kernel's while an operation is in flight.
struct Lent {
    header: [u8; HEADER_BYTES],
    trailer: [u8; TRAILER_BYTES],
    /// Grown to what the array with the most pieces needed so far.
    vectors: Vec<libc::iovec>,
    message: libc::msghdr,
}

/// One frame on its way: header, payload and trailer as one vector.
pub(crate) struct Transfer {
    /// From `Box::into_raw`, and this transfer's alone. Looked at only with nothing in flight.
    lent: NonNull<Lent>,
    payload: Place,
    trailed: bool,
    moved: usize,
    pub(crate) slot: Slot,
    /// Whether the payload is the caller's own array, or a part of it.
    pub(crate) callers: bool,
    /// Whether the kernel has an operation of this transfer.
    pub(crate) in_flight: bool,
    /// Tells a link's transfers apart, in tokens; one receives and several may send.
    pub(crate) mark: u8,
    /// Whether the kernel is asked not to copy this frame.
    pub(crate) zero_copy: bool,
    /// Operations of this frame that are over while the kernel still reads what they sent.
    pub(crate) kept: u32,
}

// SAFETY: the pointers are to memory that the transfer owns, and to memory lent to the operation
// (see `job::Buffers`); only the lane's holder uses them.
unsafe impl Send for Transfer {}

impl Transfer {
    /// For a link's first frame, which is marked 0, and those after it.
    pub(crate) fn marked(mark: u8) -> Self {
        // SAFETY: msghdr is plain data for which all zeroes is a valid value: no name, no
        // vectors, no control data.
        let message = unsafe { std::mem::zeroed() };
        let lent = Box::new(Lent {
            header: [0; HEADER_BYTES],
            trailer: [0; TRAILER_BYTES],
            vectors: Vec::with_capacity(3),
            message,
        });
        Transfer {
            lent: NonNull::from(Box::leak(lent)),
            payload: NOWHERE,
            trailed: false,
            moved: 0,
            slot: Slot(0),
            callers: false,
            in_flight: false,
            mark,
            zero_copy: false,
            kept: 0,
        }
    }

    fn begin(&mut self, slot: Slot, payload: Place, trailed: bool) {
        debug_assert!(!self.in_flight && self.kept == 0);
        self.slot = slot;
        self.zero_copy = false;
        self.payload = payload;
        self.trailed = trailed;
        self.moved = 0;
    }

    /// What the frame has behind its header, which has come.
    fn go_on(&mut self, payload: Place, trailed: bool) {
        debug_assert!(!self.in_flight && self.moved == HEADER_BYTES);
        self.payload = payload;
        self.trailed = trailed;
    }

    /// Bytes of the frame in all.
    pub(crate) fn total(&self) -> usize {
        // P-6: the trailer is there also behind an empty payload.
        HEADER_BYTES + self.payload_len() + if self.trailed { TRAILER_BYTES } else { 0 }
    }

    pub(crate) fn is_whole(&self) -> bool {
        self.moved == self.total()
    }

    pub(crate) fn has_header(&self) -> bool {
        self.moved >= HEADER_BYTES
    }

    /// What is there of the header.
    pub(crate) fn header(&self) -> &[u8; HEADER_BYTES] {
        &self.lent().header
    }

    fn lent(&self) -> &Lent {
        debug_assert!(!self.in_flight);
        // SAFETY: the memory is ours until we are dropped, and with nothing in flight nobody but
        // the holder of `self` touches it.
        unsafe { self.lent.as_ref() }
    }

    fn lent_mut(&mut self) -> &mut Lent {
        debug_assert!(!self.in_flight);
        // SAFETY: as in `lent`; `self` is borrowed for as long as the result.
        unsafe { self.lent.as_mut() }
    }

    pub(crate) fn payload_len(&self) -> usize {
        self.payload.len() as usize
    }

    pub(crate) fn advance(&mut self, bytes: usize) {
        self.moved += bytes;
        debug_assert!(self.moved <= self.total());
    }

    /// The checksum that came behind the payload, where one does. P-6
    pub(crate) fn claimed(&self) -> Option<u32> {
        self.trailed.then(|| u32::from_le_bytes(self.lent().trailer))
    }

    /// Whether the payload is the one that its trailer was made for. P-6
    pub(crate) fn payload_fits(&self) -> bool {
        self.claimed().is_none_or(|claimed| self.payload_checksum() == claimed)
    }

    fn payload_checksum(&self) -> u32 {
        let mut checksum = Checksum::new();
        for (piece, len) in self.payload.pieces() {
            // SAFETY: the payload is a span of a lent buffer or a slab, valid for these bytes;
            // nothing is in flight on this transfer when this is called, and the session lets no
            // other step write them while the frame's slot lives.
            checksum.update(unsafe { std::slice::from_raw_parts(piece, len) });
        }
        checksum.value()
    }

    /// Points the message at what has not moved yet. Called right before each submission.
    fn aim(&mut self) -> *const libc::msghdr {
        debug_assert!(!self.in_flight);
        let lent = self.lent.as_ptr();
        // The kernel's pointers come from the raw one, not from a reference that ends here.
        // SAFETY: the memory is ours and live; this makes an address of it and reads nothing.
        let header = unsafe { &raw mut (*lent).header };
        // SAFETY: as above.
        let trailer = unsafe { &raw mut (*lent).trailer };
        // SAFETY: as above.
        let message = unsafe { &raw mut (*lent).message };
        let (moved, payload_end) = (self.moved, HEADER_BYTES + self.payload_len());
        let mut vectors = std::mem::take(&mut self.lent_mut().vectors);
        vectors.clear();
        let mut add = |base: *mut u8, len: usize| {
            vectors.push(libc::iovec { iov_base: base.cast(), iov_len: len });
        };
        if moved < HEADER_BYTES {
            add(header.cast::<u8>().wrapping_add(moved), HEADER_BYTES - moved);
        }
        let mut named = moved.saturating_sub(HEADER_BYTES).min(self.payload_len());
        // What does not fit into one message is named in the next.
        for (piece, len) in self.payload.pieces_from(named as u64).take(VECTORS_MAX - 2) {
            add(piece, len);
            named += len;
        }
        if self.trailed && named == self.payload_len() {
            let skip = moved.saturating_sub(payload_end);
            add(trailer.cast::<u8>().wrapping_add(skip), TRAILER_BYTES - skip);
        }
        let lent = self.lent_mut();
        lent.vectors = vectors;
        lent.message.msg_iov = lent.vectors.as_mut_ptr();
        lent.message.msg_iovlen = lent.vectors.len() as _;
        message
    }
}

impl Drop for Transfer {
    fn drop(&mut self) {
        if self.in_flight || self.kept > 0 {
            // Only while a thread unwinds: better lost than written to by the kernel when it is
            // somebody else's.
            return;
        }
        // SAFETY: it came from a box, nobody else has it, and nothing is in flight.
        drop(unsafe { Box::from_raw(self.lent.as_ptr()) });
    }
}

/// Which direction of a link a completion belongs to; the low bit of its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    Send = 0,
    Receive = 1,
}

/// One of a lane's connections to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) peer: Rank,
    /// Less than [`STRIPES_MAX`].
    pub(crate) stripe: u8,
}

/// Where the stripe begins in a port's number: above the highest rank.
const STRIPE_SHIFT: u32 = 16;

impl Port {
    /// What stands for it in tokens.
    pub(crate) const fn number(self) -> u32 {
        (self.stripe as u32) << STRIPE_SHIFT | self.peer
    }

    pub(crate) const fn of_number(number: u32) -> Port {
        let peer = number & ((1 << STRIPE_SHIFT) - 1);
        Port { peer, stripe: (number >> STRIPE_SHIFT) as u8 }
    }
}

/// Where a transfer's mark begins in a token: above the direction and the highest port.
const MARK_SHIFT: u32 = 20;

const _: () = assert!(WORLD_SIZE_MAX <= 1 << STRIPE_SHIFT);
const _: () = assert!((STRIPES_MAX as u32) << (STRIPE_SHIFT + 1) <= 1 << MARK_SHIFT);

/// The port, direction and mark in a token's low half.
pub(crate) fn split(token: u64) -> (Port, Direction, u8) {
    let low = token as u32;
    let port = Port::of_number((low & ((1 << MARK_SHIFT) - 1)) >> 1);
    let direction = if low & 1 == 0 { Direction::Send } else { Direction::Receive };
    (port, direction, (low >> MARK_SHIFT) as u8)
}

impl Direction {
    /// What a completion that moved nothing says of the peer.
    pub(crate) fn failure(self, peer: Rank, result: i32) -> String {
        let doing = match (self, result) {
            (Direction::Receive, 0) => {
                return format!(
                    "rank {peer} closed its connection while bytes from it were still due: its process has ended, or its communicator is over"
                );
            }
            (Direction::Receive, _) => "receiving from",
            (Direction::Send, _) => "sending to",
        };
        let cause = std::io::Error::from_raw_os_error(-result);
        format!("{doing} rank {peer} failed: {cause}")
    }
}

impl Link {
    /// A link whose frames the kernel copies.
    pub(crate) fn new(fd: Fd) -> Self {
        Link::lending(fd, Lending::new(ZeroCopy::Off, true))
    }

    /// A link whose frames the kernel may read for longer.
    pub(crate) fn lending(fd: Fd, lending: Lending) -> Self {
        Link {
            fd,
            sending: Transfer::marked(0),
            receiving: Transfer::marked(0),
            header_seen: false,
            slab: None,
            lending,
        }
    }

    pub(crate) fn descriptor(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// How many completions the kernel owes.
    pub(crate) fn in_flight(&self) -> usize {
        usize::from(self.sending.in_flight) + usize::from(self.receiving.in_flight) + self.lent()
    }

    /// How many of those are for memory of sends that are over.
    pub(crate) fn lent(&self) -> usize {
        self.sending.kept as usize + self.lending.owed()
    }

    /// The frame being sent has been taken. Its slot, if its memory is the caller's again.
    pub(crate) fn settle_send(&mut self) -> Option<Slot> {
        if self.sending.kept == 0 {
            return Some(self.sending.slot);
        }
        self.lending.park(&mut self.sending);
        None
    }

    /// Ends what the kernel sends from lent memory, if it does: a shutdown alone leaves it that memory
    /// until the peer has acknowledged.
    pub(crate) fn stop_lending(&self) {
        if self.lent() > 0 {
            let _ = socket::disconnect(self.fd.as_fd());
        }
    }

    /// Memory of a send has come back. The frame's slot and payload, where that was the last of a
    /// frame that had been taken.
    pub(crate) fn give_back(&mut self, mark: u8, copied: bool) -> Option<(Slot, usize)> {
        self.lending.heed(copied);
        if self.sending.mark == mark {
            self.sending.kept -= 1;
            return None;
        }
        let transfer = self.lending.give_back(mark)?;
        let settled = (transfer.slot, transfer.payload_len());
        self.lending.keep(transfer);
        Some(settled)
    }

    /// Begins to send a frame, of whose payload the checksum may be known.
    pub(crate) fn begin_send(
        &mut self,
        slot: Slot,
        header: &Header,
        payload: Place,
        known: Option<u32>,
    ) {
        debug_assert_eq!(payload.len(), u64::from(header.length));
        self.sending.begin(slot, payload, header.checksummed);
        header.write_to(&mut self.sending.lent_mut().header);
        self.seal_send(known);
    }

    /// Begins to send a frame whose header is ready.
    pub(crate) fn begin_send_of(
        &mut self,
        header: [u8; HEADER_BYTES],
        payload: Place,
        checksummed: bool,
    ) {
        self.sending.begin(Slot(0), payload, checksummed);
        self.sending.lent_mut().header = header;
        self.seal_send(None);
    }

    fn seal_send(&mut self, known: Option<u32>) {
        if self.sending.trailed {
            let checksum = known.unwrap_or_else(|| self.sending.payload_checksum());
            debug_assert_eq!(checksum, self.sending.payload_checksum());
            self.sending.lent_mut().trailer = checksum.to_le_bytes();
        }
    }

    /// Begins to receive a frame of which nothing is known: its header alone.
    pub(crate) fn begin_receive_any(&mut self) {
        self.receiving.begin(Slot(0), NOWHERE, false);
        self.header_seen = false;
    }

    /// Goes on with what the header that has come says is behind it.
    pub(crate) fn go_on_receiving(&mut self, payload: Place, checksummed: bool) {
        self.receiving.go_on(payload, checksummed);
        self.header_seen = true;
    }

    /// Begins to receive the frame that is due.
    pub(crate) fn begin_receive(
        &mut self,
        slot: Slot,
        expected: Header,
        payload: Place,
        slab: Option<SlabId>,
    ) {
        debug_assert_eq!(payload.len(), u64::from(expected.length));
        self.receiving.begin(slot, payload, expected.checksummed);
        self.header_seen = false;
        self.slab = slab;
    }

    /// Hands what is left of the frame being sent to the kernel.
    pub(crate) fn submit_send(&mut self, io: &mut impl Io, token: u64) {
        let descriptor = self.descriptor();
        let message = self.sending.aim();
        self.sending.in_flight = true;
        let token = token | u64::from(self.sending.mark) << MARK_SHIFT;
        let zero_copy = self.sending.zero_copy;
        // SAFETY: the message, its vectors, header and trailer are in memory that is freed with
        // nothing in flight only, and the payload is lent for as long as its slot lives; the lane
        // drops the link, and lets the slot go, only after the last completion. Nothing here looks at
        // that memory until then, but for message and vectors, which a send that is over has read. The descriptor is the link's own.
        unsafe { io.submit(token, descriptor, Op::Send { message, all: true, zero_copy }) };
    }

    /// Hands what is left of the frame being received to the kernel. Until the header has been
    /// looked at the kernel may stop early; from then on it goes on to the end.
    pub(crate) fn submit_receive(&mut self, io: &mut impl Io, token: u64) {
        let descriptor = self.descriptor();
        let message = self.receiving.aim();
        self.receiving.in_flight = true;
        let all = self.header_seen;
        // SAFETY: as in `submit_send`; the target is a span that no other live step touches, or a
        // slab that belongs to this slot alone.
        unsafe { io.submit(token, descriptor, Op::Receive { message, all }) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_its_port_direction_and_mark() {
        for peer in [0, 1, 300, WORLD_SIZE_MAX - 1] {
            for stripe in [0, 1, STRIPES_MAX - 1] {
                let port = Port { peer, stripe };
                assert_eq!(Port::of_number(port.number()), port);
                for direction in [Direction::Send, Direction::Receive] {
                    let low = u64::from(port.number()) << 1 | direction as u64;
                    let token = 9 << 32 | 200 << MARK_SHIFT | low;
                    assert_eq!(split(token), (port, direction, 200));
                }
            }
        }
    }
}
