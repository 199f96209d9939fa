//! Messages from one rank to another: sent by one, received by one, and nobody else's business.

use std::ffi::c_void;
use std::fmt;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::time::Duration;

use super::{Buffer, Communicator, Element, Inner, Options, RawWork, Timeout, Work};
use crate::driver::array::Array;
use crate::driver::clock::now_ns;
use crate::driver::direct::Pending;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::{CALL_BYTES_MAX, QUEUE_MAX};
use crate::session::direct::Request;
pub use crate::session::direct::{Received, Source, Tag};
use crate::types::{DataType, Rank};

/// What a binding sends.
#[derive(Clone, Copy, Debug)]
pub struct RawSend {
    /// May be null where the count is 0.
    pub data: *const c_void,
    /// In elements.
    pub count: usize,
    pub dtype: DataType,
    pub to: Rank,
    pub tag: u32,
}

/// What a binding receives.
#[derive(Clone, Copy, Debug)]
pub struct RawRecv {
    /// May be null where the count is 0.
    pub data: *mut c_void,
    /// How many elements there is room for.
    pub count: usize,
    pub dtype: DataType,
    pub from: Source,
    pub tag: Tag,
}

/// Messages between two ranks. A message has a tag, and a receive says from whom and under which tag
/// it takes one; it takes the first that fits. Messages of one rank under one tag are received in
/// the order in which they were sent; a message that nobody receives keeps no other from being
/// received.
///
/// A short message may have been sent, as far as its sender is concerned, long before it is
/// received; a longer one ends when its receiver has asked for it and got it. So two ranks that
/// send to one another before they receive wait for ever where the messages are long: use
/// [`Communicator::sendrecv`], or start one of the two.
///
/// These calls take no part in the order of collectives, and may overlap them from other threads. A
/// call that fails with `Scope::Call` leaves the communicator usable, a timeout among them unless
/// bytes of the message are stuck on their way; a peer that is lost while it is needed ends it.
impl Communicator {
    /// Sends `data` to a rank, which may be this one. Blocks until `data` is free to be changed.
    ///
    /// # Errors
    /// `InvalidArgument` where `to` is no rank; `Timeout` where nobody has received a long message
    /// in time; why the communicator is over.
    pub fn send<T: Element>(
        &self,
        data: &[T],
        to: Rank,
        tag: u32,
        options: &Options<'_>,
    ) -> Result<()> {
        // SAFETY: the slice is borrowed for as long as the call blocks.
        unsafe { self.send_raw(&sending(data, to, tag), options) }
    }

    /// Receives a message of at most `data.len()` elements. Blocks until it is there; behind its end
    /// `data` stays as it is.
    ///
    /// # Errors
    /// `Mismatch`, which names both, where the message is longer or of another type; it is dropped
    /// then. `Timeout` where none has come; the next receive takes one that comes later, but what
    /// had come in part is lost. Why the communicator is over.
    pub fn recv<T: Element>(
        &self,
        data: &mut [T],
        from: Source,
        tag: Tag,
        options: &Options<'_>,
    ) -> Result<Received> {
        // SAFETY: the slice is borrowed for as long as the call blocks, and `Element` says that any
        // bytes of that size are a `T`.
        unsafe { self.recv_raw(&receiving(data, from, tag), options) }
    }

    /// Sends one message under a tag and receives another under the same, at once: two ranks, or a
    /// ring of them, that exchange in this way do not wait for one another for ever. Blocks until
    /// both are done.
    ///
    /// # Errors
    /// As for [`Communicator::send`] and [`Communicator::recv`]; the send's where both fail.
    pub fn sendrecv<T: Element, U: Element>(
        &self,
        data: &[T],
        to: Rank,
        into: &mut [U],
        from: Source,
        tag: u32,
        options: &Options<'_>,
    ) -> Result<Received> {
        let (send, recv) = (sending(data, to, tag), receiving(into, from, Tag::Is(tag)));
        // SAFETY: as in `send` and `recv`; exclusive borrows are apart from others.
        unsafe { self.sendrecv_raw(&send, &recv, options) }
    }

    /// Starts to send a buffer, which the work owns and gives back.
    ///
    /// # Errors
    /// When the call is refused; then the buffer is dropped.
    pub fn start_send<B: Buffer>(
        &self,
        buffer: B,
        to: Rank,
        tag: u32,
        options: &Options<'_>,
    ) -> Result<Work<B>> {
        let mut buffer = MaybeUninit::new(buffer);
        // SAFETY: just initialised.
        let lent = unsafe { buffer.assume_init_mut() };
        let (data, count) = (lent.as_mut_ptr().cast_const().cast(), lent.count());
        let send = RawSend { data, count, dtype: B::Element::DATA_TYPE, to, tag };
        // SAFETY: `Buffer` promises that the memory stays where it is and is nobody else's; the work
        // keeps it until the send is over.
        match unsafe { self.start_send_raw(&send, options) } {
            Ok(raw) => Ok(Work::new(raw, buffer)),
            Err(error) => {
                // SAFETY: initialised above, and no operation has it.
                unsafe { buffer.assume_init_drop() };
                Err(error)
            }
        }
    }

    /// Starts to receive into a buffer, which the work owns and gives back with what was received.
    ///
    /// # Errors
    /// When the call is refused; then the buffer is dropped.
    pub fn start_recv<B: Buffer>(
        &self,
        buffer: B,
        from: Source,
        tag: Tag,
        options: &Options<'_>,
    ) -> Result<RecvWork<B>> {
        let mut buffer = MaybeUninit::new(buffer);
        // SAFETY: just initialised.
        let lent = unsafe { buffer.assume_init_mut() };
        let (data, count) = (lent.as_mut_ptr().cast(), lent.count());
        let recv = RawRecv { data, count, dtype: B::Element::DATA_TYPE, from, tag };
        // SAFETY: as in `start_send`, and any bytes are valid elements.
        match unsafe { self.start_recv_raw(&recv, options) } {
            Ok(raw) => {
                let pending = raw.pending();
                Ok(RecvWork { work: Work::new(raw, buffer), pending })
            }
            Err(error) => {
                // SAFETY: initialised above, and no operation has it.
                unsafe { buffer.assume_init_drop() };
                Err(error)
            }
        }
    }

    /// Sends from a pointer: for bindings. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::send`].
    ///
    /// # Safety
    /// Until it returns, the data is readable for as many elements as it says and nobody writes it.
    pub unsafe fn send_raw(&self, send: &RawSend, options: &Options<'_>) -> Result<()> {
        // SAFETY: passed on to our caller; the work is waited for here.
        let work = unsafe { self.start_send_raw(send, options)? };
        work.wait(Timeout::Forever).map(|_| ())
    }

    /// Receives to a pointer: for bindings. Blocks.
    ///
    /// # Errors
    /// As [`Communicator::recv`].
    ///
    /// # Safety
    /// Until it returns, the data is writable for as many elements as it says and nobody else
    /// touches it.
    pub unsafe fn recv_raw(&self, recv: &RawRecv, options: &Options<'_>) -> Result<Received> {
        // SAFETY: passed on to our caller; the work is waited for here.
        let work = unsafe { self.start_recv_raw(recv, options)? };
        work.wait(Timeout::Forever)?;
        work.received().ok_or_else(without_outcome)
    }

    /// Sends from one pointer and receives to another, at once: for bindings. Blocks until both are
    /// done.
    ///
    /// # Errors
    /// As [`Communicator::sendrecv`].
    ///
    /// # Safety
    /// As for the two others; the memory of the two is apart.
    pub unsafe fn sendrecv_raw(
        &self,
        send: &RawSend,
        recv: &RawRecv,
        options: &Options<'_>,
    ) -> Result<Received> {
        const NAME: &str = "sendrecv";
        let inner = &self.0;
        let requests = inner
            .receive_request(recv, options)
            .and_then(|receive| Ok((receive, inner.send_request(send, options)?)));
        let (receive, request) = requests.map_err(|error| inner.name_as(error, NAME))?;
        let incoming = inner.started(
            // SAFETY: passed on to our caller; both works are waited for here.
            unsafe { inner.lane.post_message(receive, Array::One(recv.data.cast())) },
            NAME,
        );
        let outgoing = inner.started(
            // SAFETY: as above.
            unsafe { inner.lane.post_message(request, Array::One(send.data.cast_mut().cast())) },
            NAME,
        );
        let sent = outgoing.wait(Timeout::Forever);
        let received = incoming.wait(Timeout::Forever);
        sent.and(received)?;
        incoming.received().ok_or_else(without_outcome)
    }

    /// Starts to send from a pointer: for bindings.
    ///
    /// # Errors
    /// When the call is refused.
    ///
    /// # Safety
    /// As for [`Communicator::send_raw`], until the work is over or has been dropped.
    pub unsafe fn start_send_raw(&self, send: &RawSend, options: &Options<'_>) -> Result<RawWork> {
        const NAME: &str = "send";
        let request =
            self.0.send_request(send, options).map_err(|error| self.0.name_as(error, NAME))?;
        let memory = Array::One(send.data.cast_mut().cast());
        // SAFETY: passed on to our caller.
        let pending = unsafe { self.0.lane.post_message(request, memory) };
        Ok(self.0.started(pending, NAME))
    }

    /// Starts to receive to a pointer: for bindings. [`RawWork::received`] says what.
    ///
    /// # Errors
    /// When the call is refused.
    ///
    /// # Safety
    /// As for [`Communicator::recv_raw`], until the work is over or has been dropped.
    pub unsafe fn start_recv_raw(&self, recv: &RawRecv, options: &Options<'_>) -> Result<RawWork> {
        const NAME: &str = "recv";
        let request =
            self.0.receive_request(recv, options).map_err(|error| self.0.name_as(error, NAME))?;
        // SAFETY: passed on to our caller.
        let pending = unsafe { self.0.lane.post_message(request, Array::One(recv.data.cast())) };
        Ok(self.0.started(pending, NAME))
    }
}

impl Inner {
    fn started(self: &Arc<Self>, pending: Pending, name: &'static str) -> RawWork {
        RawWork::for_message(Arc::clone(self), pending, name)
    }

    fn send_request(&self, send: &RawSend, options: &Options<'_>) -> Result<Request> {
        let RawSend { data, count, dtype, to, tag } = *send;
        self.check_message(data, count, dtype, Some(to), options)?;
        let deadline_ns = self.deadline_ns(options);
        Ok(Request::Send { to, tag, dtype, count: count as u64, deadline_ns })
    }

    fn receive_request(&self, recv: &RawRecv, options: &Options<'_>) -> Result<Request> {
        let RawRecv { data, count, dtype, from, tag } = *recv;
        let rank = if let Source::Rank(rank) = from { Some(rank) } else { None };
        self.check_message(data, count, dtype, rank, options)?;
        let deadline_ns = self.deadline_ns(options);
        Ok(Request::Receive { from, tag, dtype, count: count as u64, deadline_ns })
    }

    /// What is wrong with a message by itself. Nobody else is told: nobody waits for this rank's
    /// place in an order of calls.
    fn check_message(
        &self,
        data: *const c_void,
        count: usize,
        dtype: DataType,
        rank: Option<Rank>,
        options: &Options<'_>,
    ) -> Result<()> {
        self.check_usable()?;
        let waiting = self.lane.waiting_messages();
        let bytes = (count as u64).checked_mul(dtype.size() as u64);
        let text = if let Some(rank) = rank.filter(|rank| *rank >= self.size) {
            format!("{rank} is not a rank of this communicator of {}", self.size)
        } else if data.is_null() && count != 0 {
            format!("{count} x {dtype} at a null pointer")
        } else if bytes.is_none_or(|bytes| bytes > CALL_BYTES_MAX) {
            format!("{count} x {dtype} are more than memory holds")
        } else if options.scale.is_some() || options.weight.is_some() {
            "a message is not reduced: it has neither scale nor weight".to_owned()
        } else if options.algorithm.is_some() {
            "a message has no algorithm to choose".to_owned()
        } else if waiting >= QUEUE_MAX {
            format!("{waiting} sends and receives are waiting; wait for some first")
        } else {
            return Ok(());
        };
        Err(Error::new(ErrorKind::InvalidArgument, text))
    }

    fn deadline_ns(&self, options: &Options<'_>) -> u64 {
        let nanoseconds = |limit: Duration| u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX);
        let limit = options.timeout.or(self.timeout);
        limit.map_or(u64::MAX, |limit| now_ns().saturating_add(nanoseconds(limit)))
    }
}

/// How a receive that owned its buffer ended: the buffer with what was received, or with the error.
pub type RecvOutcome<B> = Result<(B, Received), (Error, B)>;

/// A started receive that owns its buffer.
///
/// Dropping it blocks until the receive is over, then drops the buffer.
pub struct RecvWork<B> {
    work: Work<B>,
    pending: Option<Pending>,
}

impl<B> RecvWork<B> {
    /// Waits for the message and gives the buffer back, with what has been received.
    ///
    /// # Errors
    /// Why the receive failed, with the buffer, whose contents are undefined.
    pub fn wait(self) -> RecvOutcome<B> {
        let RecvWork { work, pending } = self;
        let buffer = work.wait()?;
        match pending.and_then(|pending| pending.received()) {
            Some(received) => Ok((buffer, received)),
            None => Err((without_outcome(), buffer)),
        }
    }

    /// Waits a while. The outer error is the work itself, still running.
    pub fn wait_timeout(self, timeout: Timeout) -> Result<RecvOutcome<B>, RecvWork<B>> {
        let RecvWork { work, pending } = self;
        match work.wait_timeout(timeout) {
            Err(work) => Err(RecvWork { work, pending }),
            Ok(outcome) => Ok(outcome.and_then(|buffer| {
                match pending.and_then(|pending| pending.received()) {
                    Some(received) => Ok((buffer, received)),
                    None => Err((without_outcome(), buffer)),
                }
            })),
        }
    }

    /// Whether the receive has ended, well or not.
    pub fn test(&self) -> bool {
        self.work.test()
    }
}

impl<B> fmt::Debug for RecvWork<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvWork").field("work", &self.work).finish_non_exhaustive()
    }
}

fn without_outcome() -> Error {
    Error::new(ErrorKind::Internal, "a receive that ended well without having received")
}

fn sending<T: Element>(data: &[T], to: Rank, tag: u32) -> RawSend {
    RawSend { data: data.as_ptr().cast(), count: data.len(), dtype: T::DATA_TYPE, to, tag }
}

fn receiving<T: Element>(data: &mut [T], from: Source, tag: Tag) -> RawRecv {
    let count = data.len();
    RawRecv { data: data.as_mut_ptr().cast(), count, dtype: T::DATA_TYPE, from, tag }
}
