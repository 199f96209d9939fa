//! Every maximum in one place, each with its reason.
//!
//! What a peer sends is held against these before anything is allocated or believed.

/// Ranks in one world. The design aims at some hundred; the wire and the simulator allow more.
pub const WORLD_SIZE_MAX: u32 = 65_536;

/// Bytes of payload in one collective frame, and so the size of a slab. Slices between 256 KiB and
/// 1 MiB moved most per second over loopback; larger ones only delay the fold that follows.
pub const SLICE_BYTES_MAX: usize = 1 << 20;

/// Bytes of the array of one call. No address space of today's machines holds more, and sums of
/// offsets below it cannot overflow 64 bits.
pub const CALL_BYTES_MAX: u64 = 1 << 48;

/// Bytes of a table of costs as text: a dozen lines, and room for comments.
pub const TABLE_TEXT_BYTES_MAX: usize = 64 << 10;

/// Choices that a communicator remembers: eight sizes to each doubling make some 300 in all.
pub const CHOICE_CACHE_MAX: usize = 512;

/// Steps of a plan that a session looks at together: one bit each in a 64-bit mask.
pub const LOOK_AHEAD_MAX: usize = 64;

/// Bytes of body in one control frame: reasons and call descriptions, never data.
pub const CONTROL_BODY_MAX: usize = 4096;

/// Bytes of text carried in an error's reason over the wire.
pub const REASON_BYTES_MAX: usize = 1024;

/// Bytes of a handshake message, either direction.
pub const HANDSHAKE_BYTES_MAX: usize = 512;

/// Bytes of one key in a store.
pub const STORE_KEY_MAX: usize = 512;

/// Bytes of one value in a store. The table of a world is the largest: some 200 bytes a rank.
pub const STORE_VALUE_MAX: usize = 64 << 20;

/// Keys that a store server holds.
pub const STORE_KEYS_MAX: usize = 1 << 20;

/// Bytes that a store server holds in all, keys and values: the records of the largest world, many
/// times over, and no more than a login node can spare.
pub const STORE_BYTES_MAX: usize = 256 << 20;

/// Connections that a store server holds open: a few for each rank of the largest job that the
/// design aims at.
pub const STORE_CLIENTS_MAX: usize = 8192;

/// Seconds that a store may take to answer a request that does not wait for others.
pub const STORE_REQUEST_SECONDS: u64 = 30;

/// Bytes of a host's name, as Linux bounds it (`HOST_NAME_MAX` of limits.h).
pub const HOST_NAME_MAX: usize = 64;

/// Bytes that rank 0 hands out to all when they join: settings, and a measured table of choice.
pub const HANDOUT_BYTES_MAX: usize = 64 << 10;

/// Seconds that the process which serves a store stays for others to read the outcome.
pub const LINGER_SECONDS: u64 = 2;

/// Bytes of job id.
pub const JOB_ID_MAX: usize = 128;

/// Addresses that one rank publishes.
pub const ADDRESSES_MAX: usize = 16;

/// Bytes of the shortest token taken: 16 hexadecimal digits, which nobody tries out over a network.
pub const TOKEN_BYTES_MIN: usize = 16;

/// Bytes of a token, as text.
pub const TOKEN_BYTES_MAX: usize = 256;

/// Connections that have not yet shaken hands and are held open at one time by one listener.
pub const HANDSHAKES_PENDING_MAX: usize = 256;

/// Sockets between two ranks of a communicator's collective lane. What one flow cannot carry, a few can:
/// beyond as many as a host has cores for their receive queues they only cost memory.
pub const STRIPES_MAX: u8 = 8;

/// Networks that join the same hosts and are used together: NICs of one host.
pub const RAILS_MAX: usize = 4;

/// Seconds a connection may take to shake hands.
pub const HANDSHAKE_SECONDS: u64 = 10;

/// Channels that carry out one collective: eight cores and more fill what a host's links carry.
pub const CHANNELS_MAX: u16 = 8;

/// Links that one peer may have waiting here for communicators that this rank has yet to make: all those
/// of a call that is cut, on every channel.
pub const EARLY_LINKS_MAX: usize = STRIPES_MAX as usize * CHANNELS_MAX as usize;

/// Plans that a communicator keeps ready.
pub const PLAN_CACHE_MAX: usize = 256;

/// Communicators that a process remembers after it has closed them, for members that come late: more
/// than anybody closes at once.
pub const RETIRED_MAX: usize = 1024;

/// Goodbyes that wait for what their senders may still have under way, some 0.3 s: each rank of the
/// largest world that the design aims at, closing a hundred communicators.
pub const DEPARTURES_MAX: usize = 65_536;

/// Aborts and refusals that rank 0 remembers having passed on, so that each goes round once.
pub const PASSED_ON_MAX: usize = 256;

/// Calls that a session remembers after they are over, to compare with what a late peer says.
pub const CALL_HISTORY: usize = 64;

/// Started operations that are not over, in one communicator.
pub const QUEUE_MAX: usize = 65_536;

/// Bytes that `kirsh run` holds of a rank's line before it shows the part that it has: a pipe's
/// usual capacity, far beyond any line a person reads.
pub const OUTPUT_LINE_BYTES_MAX: usize = 64 << 10;

/// Events of a trace that wait to be written: some tenths of a second of the smallest calls, one after
/// the other. They take some 10 MB, and only where a trace is written.
pub const TRACE_EVENTS_MAX: usize = 1 << 16;

/// Bytes from which on a region asks for huge pages: two of x86's, so that one fits wherever the
/// region starts, and small pools do not become resident two megabytes at a time.
pub const REGION_HUGE_MIN: usize = 4 << 20;

/// The boundary on which slabs start: a cache line, so that no two share one, and a vector's load
/// crosses none.
pub const SLAB_ALIGNMENT: usize = 64;

/// Bytes of a point-to-point message that may travel before its receive is there. Copying so much
/// costs a microsecond or two; asking first costs a round trip, some ten times that.
pub const EAGER_BYTES_MAX: usize = 16 << 10;

/// Eager messages that one rank may have sent to another, on one communicator, and that the other
/// has not consumed: enough for bursts of small ones, and all that must be held for a peer.
pub const EAGER_WINDOW_MESSAGES: u64 = 256;

/// Bytes of payload in those messages: a quarter of what as many of the longest would have, since
/// this much of memory becomes resident for each peer that is ahead.
pub const EAGER_WINDOW_BYTES: u64 = 1 << 20;

/// Messages that one rank may have announced to another and that wait for their receive there. Each
/// is an operation that still runs at its sender, and no communicator has more of them.
pub const ANNOUNCED_MAX: usize = QUEUE_MAX;
