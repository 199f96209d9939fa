/* Kirsh: collectives between ordinary Linux machines on ordinary Ethernet.
 *
 *     #include <kirsh.h>
 *
 *     kirsh_comm_t *comm = NULL;
 *     float x = 1;
 *     if (kirsh_comm_create(NULL, &comm) != KIRSH_OK
 *         || kirsh_allreduce(comm, &x, &x, 1, KIRSH_FLOAT32, KIRSH_SUM, NULL, NULL) != KIRSH_OK) {
 *         fprintf(stderr, "%s\n", kirsh_last_error());
 *         return 1;
 *     }
 *     printf("%d ranks counted %g\n", kirsh_comm_size(comm), x);
 *     kirsh_comm_destroy(comm);
 *
 * Build with `cc trainer.c $(pkg-config --cflags --libs kirsh)` or CMake's Kirsh::kirsh; start with
 * `kirsh run -n 4 -- ./a.out`, any launcher that sets RANK and WORLD_SIZE, or by hand.
 *
 * Threads    Any thread may call anything; calls on one communicator run in the order in which they
 *            were made and must match across ranks; kirsh_comm_abort() may overlap all of them.
 *
 * Collective Every rank makes the same calls in the same order with the same count, dtype, op and
 *            root. Where they differ, every rank gets KIRSH_MISMATCH and hears who called what.
 *
 * Blocking   A collective whose work_out is NULL blocks until it is over. With a work_out it starts,
 *            returns at once, and the handle written there says when it is over and how. Only what
 *            this process refuses fails right away, without a handle.
 *
 * Buffers    belong to the library from the call until it is over: when a blocking call has returned,
 *            whatever it returned, or when kirsh_work_wait() or kirsh_work_test() has returned anything
 *            but KIRSH_PENDING. Until then an output is neither read nor written, an input not written.
 *            After a failure of the communicator the contents of its outputs are undefined. Buffers
 *            need no alignment and no registration.
 *
 * Counts     are in elements, of 64 bits, and what NCCL takes them for: those of the array for allreduce,
 *            reduce, broadcast, scan and exscan; those that each rank sends for allgather and gather, and
 *            receives for reduce_scatter and scatter; those for each pair of ranks for alltoall. The
 *            functions in -v take a number for each rank: an array of counts, and one of displacements,
 *            which says in elements where each rank's part begins (NULL: one behind the other). Parts
 *            must not overlap. Both arrays are only read during the call.
 *
 * In place   is where the arrays lie so that each rank's part is where it belongs; every function says
 *            what that is for it. Buffers that overlap in any other way are refused.
 *
 * NULL       is fine for a buffer without elements, for options (all defaults), for work_out (block),
 *            and where a function says so.
 *
 * Handles    What a function hands out you destroy, once: a comm_out with kirsh_comm_destroy(), a
 *            work_out with kirsh_work_destroy(), a plan_out with kirsh_plan_destroy(). No other call
 *            may be using a handle while it is destroyed. NULL is a fine thing to destroy and an error
 *            elsewhere.
 *
 * Errors     Functions return a status, and write their outputs only where it is KIRSH_OK (but for
 *            kirsh_work_wait_any(), whose index says which operation it was that failed). What went
 *            wrong is kept for each thread: kirsh_last_error() is the text, kirsh_error_info() the
 *            parts. Its scope says what is left: the communicator goes on (KIRSH_SCOPE_CALL), or it is
 *            over on all ranks and every later call ends with the first cause
 *            (KIRSH_SCOPE_COMMUNICATOR). No Rust panic and no C++ exception comes out of the library.
 *
 * Refusals   A collective that this process cannot even start (an unknown dtype, overlapping buffers)
 *            touches no buffer and returns KIRSH_INVALID_ARGUMENT or KIRSH_UNSUPPORTED. It still counts
 *            as one call, and the peers, who wait for it, get KIRSH_REFUSED with the reason.
 *
 * Deadlines  Every operation has one. Timeouts are nanoseconds: 0 is the default, KIRSH_FOREVER none.
 *
 * Fork       In a forked child every handle is dead: calls return KIRSH_FORKED. Create a communicator
 *            after the fork.
 *
 * Structs    begin with their size, so that old programs meet new libraries: start from the _INIT
 *            macros, which set it, and never reorder. Only kirsh_array_t and kirsh_lane_stats_t have none,
 *            as they are parts of others and never grow. docs/ABI.md has the whole promise.
 *
 * C++ has kirsh.hpp, on top of this: RAII, spans, exceptions.
 *
 * Made by cbindgen from kirsh-ffi/src: change it there, then `make bless`.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */


#ifndef KIRSH_H
#define KIRSH_H

#include <stddef.h>
#include <stdint.h>

/* What structs start from. Fields that a later header adds are unset in programs that know this one. */
#define KIRSH_CONFIG_INIT {sizeof(kirsh_config_t), -1, -1, NULL, NULL, NULL, 0, 0, KIRSH_WIRE_DEFAULT, 0}
#define KIRSH_OPTIONS_INIT {sizeof(kirsh_options_t), 0, 0.0, KIRSH_ALGORITHM_AUTO, KIRSH_WIRE_DEFAULT, NULL, NULL}
#define KIRSH_STORE_INIT {sizeof(kirsh_store_t), NULL, NULL, NULL, NULL, NULL, NULL}
#define KIRSH_STATS_INIT \
    {sizeof(kirsh_stats_t), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, \
     0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#define KIRSH_PEER_STATS_INIT \
    {sizeof(kirsh_peer_stats_t), 0, 0, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}, {0, 0, 0, 0, 0}}
#define KIRSH_ERROR_INFO_INIT \
    {sizeof(kirsh_error_info_t), KIRSH_OK, KIRSH_SCOPE_CALL, -1, -1, -1, NULL, NULL}


// The release that this header belongs to; kirsh_version() names the one that is loaded.
#define KIRSH_VERSION_MAJOR 0

#define KIRSH_VERSION_MINOR 1

#define KIRSH_VERSION_PATCH 0

// A timeout that never runs out.
#define KIRSH_FOREVER INT64_MAX

// The color of a rank that wants no communicator from kirsh_comm_split.
#define KIRSH_NO_COLOR -1

// As the source of kirsh_recv: a message of whichever rank comes first.
#define KIRSH_ANY_SOURCE -1

// As the tag of kirsh_recv: a message under whichever tag.
#define KIRSH_ANY_TAG -1

// What became of a call. Numbers are never reused or changed; new ones may be added, so treat one
// you do not know as a failure.
//
// kirsh_error_info() tells how far a failure reaches (kirsh_scope_t). As a rule: INVALID_ARGUMENT,
// UNSUPPORTED and CONFIGURATION leave the communicator usable where every rank refuses alike; where
// others went ahead they are told, get REFUSED, and the communicator is over. TIMEOUT, PEER_LOST,
// MISMATCH, REFUSED, CORRUPT, PROTOCOL, ABORTED, INTERRUPTED and INTERNAL end the communicator: later
// calls end with the first cause, and the contents of the buffers are undefined. RENDEZVOUS and
// AUTHENTICATION come from kirsh_comm_create() alone, which then has made nothing. FORKED and CLOSED
// say that this handle cannot be used here any more.
enum kirsh_status_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Done.
    KIRSH_OK = 0,
    // Not an error: the operation goes on and the buffers are still lent.
    KIRSH_PENDING = 1,
    // An argument that could never have worked: null, overlapping, out of range.
    KIRSH_INVALID_ARGUMENT = 2,
    // A valid wish that this build, machine or type cannot fulfil.
    KIRSH_UNSUPPORTED = 3,
    // A deadline passed.
    KIRSH_TIMEOUT = 4,
    // A peer died, left while it was needed, or fell silent.
    KIRSH_PEER_LOST = 5,
    // Ranks called different things.
    KIRSH_MISMATCH = 6,
    // A peer refused the call that this rank made; its reason is in the message.
    KIRSH_REFUSED = 7,
    // A checksum did not fit.
    KIRSH_CORRUPT = 8,
    // A peer sent what the protocol does not allow.
    KIRSH_PROTOCOL = 9,
    // Somebody called kirsh_comm_abort().
    KIRSH_ABORTED = 10,
    // A signal asked the blocking call to stop.
    KIRSH_INTERRUPTED = 11,
    // The ranks did not find together.
    KIRSH_RENDEZVOUS = 12,
    // A token or job id did not fit.
    KIRSH_AUTHENTICATION = 13,
    // The operating system refused: memory, descriptors, a forbidden call.
    KIRSH_SYSTEM = 14,
    // The handle was made before a fork and used in the child.
    KIRSH_FORKED = 15,
    // The handle was used after it was closed.
    KIRSH_CLOSED = 16,
    // A setting in the environment or the configuration is missing or malformed.
    KIRSH_CONFIGURATION = 17,
    // A defect of the library itself.
    KIRSH_INTERNAL = 18,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_status_t kirsh_status_t;
#else
typedef int32_t kirsh_status_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// The type of one element of a buffer. Numbers are never reused or changed.
enum kirsh_dtype_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Bytes of no stated meaning: they can be moved, not reduced.
    KIRSH_BYTE = 0,
    // One byte, C's bool: zero is false and anything else is true.
    KIRSH_BOOL = 1,
    KIRSH_INT8 = 2,
    KIRSH_UINT8 = 3,
    KIRSH_INT16 = 4,
    KIRSH_UINT16 = 5,
    KIRSH_INT32 = 6,
    KIRSH_UINT32 = 7,
    KIRSH_INT64 = 8,
    KIRSH_UINT64 = 9,
    // IEEE 754 binary16; folded in binary32, rounded once.
    KIRSH_FLOAT16 = 10,
    // The upper half of a binary32; folded in binary32, rounded once.
    KIRSH_BFLOAT16 = 11,
    // C's float.
    KIRSH_FLOAT32 = 12,
    // C's double.
    KIRSH_FLOAT64 = 13,
    // C's float _Complex: the real part, then the imaginary part.
    KIRSH_COMPLEX64 = 14,
    // C's double _Complex.
    KIRSH_COMPLEX128 = 15,
    // 4 bits of exponent, 3 of mantissa, no infinities: can be moved, not reduced.
    KIRSH_FLOAT8_E4M3FN = 16,
    // 5 bits of exponent, 2 of mantissa: can be moved, not reduced.
    KIRSH_FLOAT8_E5M2 = 17,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_dtype_t kirsh_dtype_t;
#else
typedef int32_t kirsh_dtype_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How two elements become one. Numbers are never reused or changed.
//
// Integers know all but AVG and PREMUL_SUM, floats all but the bitwise and logical ones, complex
// numbers SUM, PROD, AVG and PREMUL_SUM, KIRSH_BOOL MIN, MAX and the bitwise and logical ones,
// KIRSH_BYTE and the floats of 8 bits none.
enum kirsh_op_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Integers wrap around.
    KIRSH_SUM = 0,
    // Integers wrap around. Complex numbers: (ac - bd) + (ad + bc)i, each operation rounded.
    KIRSH_PROD = 1,
    // The smaller; -0 is smaller than +0, and NaN wins.
    KIRSH_MIN = 2,
    // The larger; +0 is larger than -0, and NaN wins.
    KIRSH_MAX = 3,
    // The sum, divided once by the world size.
    KIRSH_AVG = 4,
    // Each rank's input is multiplied by that rank's own (real) kirsh_options_t.scale, then summed.
    KIRSH_PREMUL_SUM = 5,
    // Bitwise and.
    KIRSH_BAND = 6,
    // Bitwise or.
    KIRSH_BOR = 7,
    // Bitwise exclusive or.
    KIRSH_BXOR = 8,
    // Logical and: 1 where both are nonzero, else 0.
    KIRSH_LAND = 9,
    // Logical or.
    KIRSH_LOR = 10,
    // Logical exclusive or.
    KIRSH_LXOR = 11,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_op_t kirsh_op_t;
#else
typedef int32_t kirsh_op_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How a collective is carried out. Numbers are never reused or changed.
enum kirsh_algorithm_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // The library chooses, from the size, the type and the ranks.
    KIRSH_ALGORITHM_AUTO = 0,
    // Allreduce, allgather, reduce_scatter: each rank with its two neighbours; for large arrays.
    KIRSH_ALGORITHM_RING = 1,
    // Allreduce, allgather, scan, exscan: few steps, for small arrays.
    KIRSH_ALGORITHM_RECURSIVE_DOUBLING = 2,
    // Allreduce: a binomial tree towards one rank, then away from it.
    KIRSH_ALGORITHM_TREE = 3,
    // Broadcast, reduce, gather, scatter: a binomial tree.
    KIRSH_ALGORITHM_BINOMIAL = 4,
    // Broadcast, reduce, scan, exscan: a pipeline from rank to rank, for large arrays.
    KIRSH_ALGORITHM_CHAIN = 5,
    // Barrier.
    KIRSH_ALGORITHM_DISSEMINATION = 6,
    // Allreduce: a reduce_scatter by halves, then an allgather by doubles.
    KIRSH_ALGORITHM_HALVING_DOUBLING = 7,
    // Allreduce, broadcast, reduce: two binary trees, each for half of the array.
    KIRSH_ALGORITHM_DOUBLE_TREE = 8,
    // Broadcast: a binomial scatter, then a ring allgather.
    KIRSH_ALGORITHM_SCATTER_ALLGATHER = 9,
    // Reduce: a ring reduce_scatter, then a gather to the root.
    KIRSH_ALGORITHM_REDUCE_SCATTER_GATHER = 10,
    // Allgather, alltoall: few steps, for small arrays.
    KIRSH_ALGORITHM_BRUCK = 11,
    // Reduce_scatter: few steps, for small arrays.
    KIRSH_ALGORITHM_RECURSIVE_HALVING = 12,
    // Alltoall, reduce_scatter: with each other rank once, directly.
    KIRSH_ALGORITHM_PAIRWISE = 13,
    // Gather, scatter: between the root and each other rank, directly.
    KIRSH_ALGORITHM_LINEAR = 14,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_algorithm_t kirsh_algorithm_t;
#else
typedef int32_t kirsh_algorithm_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How float elements travel. Numbers are never reused or changed. docs/WIRE.md has the errors.
enum kirsh_wire_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // As they lie in memory, whatever the communicator was configured with.
    KIRSH_WIRE_NONE = -1,
    // As the communicator was configured.
    KIRSH_WIRE_DEFAULT = 0,
    // Half as many bytes: the upper half of each, rounded.
    KIRSH_WIRE_BF16 = 1,
    // Half as many bytes: IEEE 754 binary16; what is beyond 65,504 becomes an infinity.
    KIRSH_WIRE_F16 = 2,
    // A quarter of the bytes: whole multiples of a scale that each block of 256 has for itself.
    KIRSH_WIRE_INT8 = 3,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_wire_t kirsh_wire_t;
#else
typedef int32_t kirsh_wire_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// What a failure leaves unusable.
enum kirsh_scope_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    // Only this call; the communicator goes on.
    KIRSH_SCOPE_CALL = 0,
    // One connection; the communicator may open another.
    KIRSH_SCOPE_LINK = 1,
    // The communicator: destroy it. Later calls on it return this same failure.
    KIRSH_SCOPE_COMMUNICATOR = 2,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_scope_t kirsh_scope_t;
#else
typedef int32_t kirsh_scope_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// How much is said. Each level includes those above it.
enum kirsh_log_level_t
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
    KIRSH_LOG_OFF = 0,
    // What also comes back as a status.
    KIRSH_LOG_ERROR = 1,
    // What a person should look at, such as ranks that are late.
    KIRSH_LOG_WARN = 2,
    // Once per communicator.
    KIRSH_LOG_INFO = 3,
    // Once per connection or operation.
    KIRSH_LOG_DEBUG = 4,
    // Once per step.
    KIRSH_LOG_TRACE = 5,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum kirsh_log_level_t kirsh_log_level_t;
#else
typedef int32_t kirsh_log_level_t;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// A group of ranks that call collectives together.
typedef struct kirsh_comm_t kirsh_comm_t;

// A collective call that is prepared once and made many times, always with the same arrays. Making one is
// not collective (but with a weight), and moves nothing: kirsh_plan_run() does.
//
// There is a kirsh_plan_*() for each collective, with its arguments; counts, displacements and
// descriptions of arrays are only read there. Whatever is wrong with them is refused there, and the
// peers hear of it as if the call itself had been refused. The arrays must be there as long as the plan
// is used. They are lent during each run, and the program's own between runs.
typedef struct kirsh_plan_t kirsh_plan_t;

// Where a store's callback puts its answer; valid during the callback.
typedef struct kirsh_reply_t kirsh_reply_t;

// An operation that was started. Until it is over its buffers are lent to the library.
typedef struct kirsh_work_t kirsh_work_t;

// Everything known about the last failure on this thread. Start from KIRSH_ERROR_INFO_INIT.
typedef struct kirsh_error_info_t {
    // sizeof(kirsh_error_info_t).
    size_t size;
    // KIRSH_OK where nothing has failed on this thread yet.
    kirsh_status_t status;
    kirsh_scope_t scope;
    // The rank that reports the failure, which is this process's own; -1 where it had none yet.
    int32_t rank;
    // The rank that the failure is about; -1 where there is none.
    int32_t peer;
    // The number of the operation within its communicator, counted from 0; -1 where there is none.
    int64_t sequence;
    // The operation, such as "allreduce"; "" where there is none. Valid like kirsh_last_error().
    const char *operation;
    // The text of kirsh_last_error().
    const char *message;
} kirsh_error_info_t;

// Takes one line of the log, without a line end. `user` is what kirsh_set_log() was given; the text
// is valid during the call. Called from any thread, several at a time, also from the library's own:
// return soon, and throw nothing. The callback may call the library, but what these calls log is lost,
// and kirsh_set_log() itself is refused there.
typedef void (*kirsh_log_fn)(void *user, kirsh_log_level_t level, const char *text);

// A small dictionary that all ranks share, made of callbacks. Start from KIRSH_STORE_INIT and set all
// four operations. Each returns KIRSH_OK, or any failure, which kirsh_comm_create() then reports.
//
// A value that was set is seen whole by every later get and wait of any rank; `add` is atomic across
// ranks, counts a missing key from 0, and its counters read as decimal text. Callbacks come from any
// thread, several at a time; one that waits must not keep out the others. They must throw nothing.
typedef struct kirsh_store_t {
    // sizeof(kirsh_store_t).
    size_t size;
    // Passed to every callback.
    void *user;
    // Writes a value, over an older one if there is one.
    kirsh_status_t (*set)(void *user,
                          const char *key,
                          const void *value,
                          size_t length,
                          struct kirsh_reply_t *reply);
    // Hands the value of a key to kirsh_reply_set_value(); KIRSH_PENDING where nobody has set it yet.
    kirsh_status_t (*get)(void *user, const char *key, struct kirsh_reply_t *reply);
    // The same, but waits for the key to be set; KIRSH_PENDING once timeout_ns has passed.
    kirsh_status_t (*wait)(void *user,
                           const char *key,
                           int64_t timeout_ns,
                           struct kirsh_reply_t *reply);
    // Adds to a counter and writes the sum.
    kirsh_status_t (*add)(void *user,
                          const char *key,
                          int64_t delta,
                          int64_t *sum,
                          struct kirsh_reply_t *reply);
    // Called once, when the library needs `user` no longer: at the latest in kirsh_comm_destroy(), or
    // before a failed kirsh_comm_create() returns. Only a `size` that is refused keeps it from being
    // called. May be NULL.
    void (*release)(void *user);
} kirsh_store_t;

// How to create a communicator. Start from KIRSH_CONFIG_INIT and change what you need: everything left
// alone comes from the environment. Strings are only read during the call.
typedef struct kirsh_config_t {
    // sizeof(kirsh_config_t).
    size_t size;
    // This process's rank; -1: from the environment (RANK). Set together with world_size.
    int32_t rank;
    // How many ranks there are; -1: from the environment (WORLD_SIZE).
    int32_t world_size;
    // Where the ranks meet: "tcp://host:port", which rank 0 serves, or "file://path" in a directory
    // that all ranks see. NULL: from the environment (KIRSH_RENDEZVOUS).
    const char *rendezvous;
    // A store that the ranks share already, instead of a rendezvous. NULL: none.
    const struct kirsh_store_t *store;
    // Keeps jobs apart that meet in one place. NULL: from the environment (KIRSH_JOB_ID).
    const char *job_id;
    // How long the ranks may take to find together. 0: from the environment (KIRSH_JOIN_TIMEOUT),
    // else 300 s.
    int64_t join_timeout_ns;
    // How long each operation may take unless its options say otherwise. 0: from the environment
    // (KIRSH_TIMEOUT), else 600 s.
    int64_t timeout_ns;
    // How float elements travel in every call that can be encoded and whose options say nothing else;
    // rank 0's word counts. KIRSH_WIRE_DEFAULT: from the environment (KIRSH_WIRE).
    kirsh_wire_t wire;
    // 0.
    int32_t reserved;
} kirsh_config_t;

// What can be said with one call. Start from KIRSH_OPTIONS_INIT. algorithm and wire must be the
// same on every rank; timeout_ns, scale, name and weight are each rank's own. Only read during the call.
typedef struct kirsh_options_t {
    // sizeof(kirsh_options_t).
    size_t size;
    // How long the operation may take; when it runs out, the communicator is over. 0: as the
    // communicator was configured.
    int64_t timeout_ns;
    // This rank's factor for KIRSH_PREMUL_SUM; an error with any other operator. 0: not set, which is
    // a factor of 1 (for a factor of zero, sum zeros).
    double scale;
    // KIRSH_ALGORITHM_AUTO lets the library choose.
    kirsh_algorithm_t algorithm;
    // How float elements travel in allreduce, reduce_scatter(v) and allgather(v): in fewer bytes, and so
    // rounded, yet with the same result to the bit on every rank that has it. A call that cannot be
    // encoded is refused. KIRSH_WIRE_DEFAULT leaves it to the communicator.
    kirsh_wire_t wire;
    // What to call the operation in this rank's log. NULL: nothing.
    const char *name;
    // This rank's weight in a mean, such as its number of samples: with KIRSH_AVG in allreduce, reduce,
    // reduce_scatter and reduce_scatterv the result is sum(weight * x) / sum(weight). NULL: none, and all
    // ranks count alike. All ranks give one or none does, else they hear KIRSH_MISMATCH. Weights are
    // finite and not negative, and not all 0. They are exchanged by an allreduce of one double ahead of
    // the call, in its place in the order, and this BLOCKS also where the call is only started; a plan
    // exchanges them once, when it is made, which is collective then.
    const double *weight;
} kirsh_options_t;

// What a communicator has moved so far. Start from KIRSH_STATS_INIT.
typedef struct kirsh_stats_t {
    // sizeof(kirsh_stats_t).
    size_t size;
    // Operations that are over, well or not.
    uint64_t operations;
    // Bytes of payload that were sent.
    uint64_t bytes_sent;
    // Bytes of payload that were received.
    uint64_t bytes_received;
    // Those among them that the kernel put straight into the caller's buffer.
    uint64_t bytes_received_direct;
    // Bytes of payload that the library copied from memory to memory.
    uint64_t bytes_copied;
    // Frames that were sent, each a header and a slice of payload.
    uint64_t frames_sent;
    // Frames that were received.
    uint64_t frames_received;
    // Those of bytes_sent that were sent from the caller's buffer, without a copy by the library.
    uint64_t bytes_sent_direct;
    // Those among them that the kernel, too, read straight from there (KIRSH_ZERO_COPY).
    uint64_t bytes_sent_zero_copy;
    // Those that the kernel was asked not to copy, and copied.
    uint64_t bytes_sent_copied_anyway;
    // Nanoseconds in which the thread that drove this communicator (a blocking caller, or the library's
    // own for started operations and messages) had nothing to do while an operation was under way,
    // and looked or slept. Who sleeps while another drives is not counted beside it.
    uint64_t waited_ns;
    // System calls of blocking callers while they drove this communicator: io_uring_enter,
    uint64_t calls_enter;
    // ppoll,
    uint64_t calls_ppoll;
    // sendmsg,
    uint64_t calls_sendmsg;
    // and recvmsg.
    uint64_t calls_recvmsg;
    // The same by the library's own thread, for all communicators that share it.
    uint64_t progress_calls_enter;
    uint64_t progress_calls_ppoll;
    uint64_t progress_calls_sendmsg;
    uint64_t progress_calls_recvmsg;
    // Collective calls whose arguments were validated; runs of a plan are not.
    uint64_t validations;
    // How often an algorithm was chosen for a call.
    uint64_t choices;
    // Plans that were built, for want of one kept from an earlier call.
    uint64_t plans_built;
    // Operations that are over, by name; their sum is `operations`.
    uint64_t operations_barrier;
    uint64_t operations_broadcast;
    uint64_t operations_allreduce;
    uint64_t operations_reduce;
    uint64_t operations_allgather;
    uint64_t operations_reduce_scatter;
    uint64_t operations_gather;
    uint64_t operations_scatter;
    uint64_t operations_alltoall;
    uint64_t operations_scan;
    uint64_t operations_exscan;
    uint64_t operations_allgatherv;
    uint64_t operations_reduce_scatterv;
    uint64_t operations_gatherv;
    uint64_t operations_scatterv;
    uint64_t operations_alltoallv;
    uint64_t operations_send;
    uint64_t operations_recv;
} kirsh_stats_t;

// What goes to and comes from one peer over connections of one kind: 40 bytes, for good.
typedef struct kirsh_lane_stats_t {
    // Bytes that were sent: payload, or whole frames for control.
    uint64_t bytes_sent;
    uint64_t bytes_received;
    uint64_t frames_sent;
    uint64_t frames_received;
    // The part of `waited_ns` of kirsh_stats_t in which this peer was waited for before others. It may
    // have waited for others itself. 0 for control, where nobody waits.
    uint64_t waited_ns;
} kirsh_lane_stats_t;

// What a communicator has had to do with one of its ranks. Start each of an array from
// KIRSH_PEER_STATS_INIT.
typedef struct kirsh_peer_stats_t {
    // sizeof(kirsh_peer_stats_t).
    size_t size;
    // The peer in this communicator.
    int32_t rank;
    // The same process in the communicator that was created first.
    int32_t world_rank;
    // Connections for this communicator's collectives.
    struct kirsh_lane_stats_t collective;
    // Connections for its messages.
    struct kirsh_lane_stats_t direct;
    // The connection of the two processes for liveness and failures, which all communicators share
    // that were made from one another.
    struct kirsh_lane_stats_t control;
} kirsh_peer_stats_t;

// One of several arrays that count as one, each behind the one before. It has no size of its own and
// never grows, since programs lay out arrays of it.
typedef struct kirsh_array_t {
    // Where it begins; NULL is allowed where count is 0.
    void *data;
    // How many elements it has.
    size_t count;
} kirsh_array_t;

// What has been received. It has no size of its own and never grows.
typedef struct kirsh_received_t {
    // In elements; what lies in the buffer behind them is as it was.
    size_t count;
    // Who sent it.
    int32_t source;
    uint32_t tag;
} kirsh_received_t;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// The version of the loaded library, such as "0.1.0". Never NULL; the text is static.
const char *kirsh_version(void);

// A short name for a status, such as "peer lost". Never NULL, also for numbers that this library does
// not know; the text is static. What went wrong this time is in kirsh_last_error().
const char *kirsh_status_string(kirsh_status_t status);

// What the last failed call on this thread has to say: the rank, the operation, what was waited for
// and which setting changes it. Never NULL; "" where nothing has failed. Calls that succeed leave it
// as it is. The text belongs to the library and is valid until the next failure on this thread.
const char *kirsh_last_error(void);

// Fills in what is known about the last failure on this thread. `out->size` must be set.
kirsh_status_t kirsh_error_info(struct kirsh_error_info_t *out);

// Sends the log of all communicators of this process to a callback, up to this level, instead of to
// standard error at the level of KIRSH_LOG. NULL or KIRSH_LOG_OFF silences it. When the call returns, the previous callback is not running and will
// not be called again, so that its `user` may be freed.
kirsh_status_t kirsh_set_log(kirsh_log_fn callback,
                             void *user,
                             kirsh_log_level_t level);

// Creates a communicator. Collective: every rank calls it, and it blocks until all have come or the
// join timeout has passed. NULL as config takes everything from the environment. A process may
// hold several communicators, and make a new one after destroying another.
kirsh_status_t kirsh_comm_create(const struct kirsh_config_t *config,
                                 struct kirsh_comm_t **comm_out);

// Leaves the communicator and frees the handle; NULL is allowed. Not collective: the others go on, and
// only an operation that needs this rank fails. What still runs here is given half a second, then
// aborted, which is what KIRSH_ABORTED says; blocks for little more than a second at most. Handles of
// started operations stay valid and are destroyed on their own. The handle is gone whatever is
// returned, so no other call on it may be under way.
kirsh_status_t kirsh_comm_destroy(struct kirsh_comm_t *comm);

// This process's rank, from 0; -1 where comm is NULL.
int32_t kirsh_comm_rank(const struct kirsh_comm_t *comm);

// How many ranks the communicator has; -1 where comm is NULL.
int32_t kirsh_comm_size(const struct kirsh_comm_t *comm);

// This process's rank among those on its host, from 0; -1 where comm is NULL.
int32_t kirsh_comm_local_rank(const struct kirsh_comm_t *comm);

// How many ranks are on this process's host; -1 where comm is NULL.
int32_t kirsh_comm_local_size(const struct kirsh_comm_t *comm);

// Ends the communicator on every rank: operations under way and later ones return KIRSH_ABORTED with
// this reason (NULL: none). May be called from any thread, also while others wait; does not wait for
// the peers. The handle still has to be destroyed.
kirsh_status_t kirsh_comm_abort(struct kirsh_comm_t *comm,
                                const char *reason);

// Takes the place of a collective that this process should make now and cannot (an array of the wrong
// shape, a batch that is missing): the peers, who wait for it, get KIRSH_REFUSED with this reason at
// once, not a timeout. `operation` is the collective's name, such as "allreduce". For layers on top of
// this one, so it returns what that layer should return: never KIRSH_OK, but KIRSH_INVALID_ARGUMENT or
// the failure that the communicator had already.
kirsh_status_t kirsh_comm_refuse(struct kirsh_comm_t *comm,
                                 const char *operation,
                                 const char *reason);

// Makes a communicator of the ranks that give the same color, 0 to UINT32_MAX; in the order of key, and
// where keys are equal in the order that they have in comm. A rank that gives KIRSH_NO_COLOR gets NULL,
// but calls all the same. Collective over comm: it blocks until every rank of comm has called, and has
// its place in the order of calls; options hold for it as for kirsh_allgather, and NULL is allowed.
// Ranks that call kirsh_comm_split, _dup and _subgroup against one another all get KIRSH_MISMATCH, and
// comm goes on. The new communicator is the caller's, to be destroyed like any other, before comm or after
// it; it has its own order of calls and its own failures, and shares threads and control connections.
kirsh_status_t kirsh_comm_split(struct kirsh_comm_t *comm,
                                int64_t color,
                                int32_t key,
                                const struct kirsh_options_t *options,
                                struct kirsh_comm_t **comm_out);

// Makes a communicator of the same ranks, so that calls which do not depend on one another need not wait
// for one another. Where several communicators have started operations at a time, the library's thread
// serves those of higher priority first in each of its turns; one that was created has priority 0, and
// each rank's priority is its own affair. It shares out no bandwidth, and calls that block and drive
// themselves take no notice of it. Otherwise as kirsh_comm_split.
kirsh_status_t kirsh_comm_dup(struct kirsh_comm_t *comm,
                              int32_t priority,
                              const struct kirsh_options_t *options,
                              struct kirsh_comm_t **comm_out);

// Makes a communicator of these ranks of comm, in the order of the list. Every rank of comm calls with
// the same list, else all get KIRSH_MISMATCH; those that are not in it get NULL. Otherwise as
// kirsh_comm_split.
kirsh_status_t kirsh_comm_subgroup(struct kirsh_comm_t *comm,
                                   const int32_t *ranks,
                                   size_t count,
                                   const struct kirsh_options_t *options,
                                   struct kirsh_comm_t **comm_out);

// Fills in what the communicator has moved so far. `out->size` must be set.
kirsh_status_t kirsh_comm_stats(const struct kirsh_comm_t *comm, struct kirsh_stats_t *out);

// Fills in what the communicator has had to do with each of its ranks, this one among them: entry `i`
// is about rank `i`. `count` is the number of entries in `out`, at least kirsh_comm_size(); those beyond
// stay as they are. Each entry's size must be set, all to the same.
kirsh_status_t kirsh_comm_stats_by_peer(const struct kirsh_comm_t *comm,
                                        struct kirsh_peer_stats_t *out,
                                        size_t count);

// Gives every rank the root's array, in place: `buffer` is read on the root and written elsewhere.
// `count` is that of every array.
kirsh_status_t kirsh_broadcast(struct kirsh_comm_t *comm,
                               void *buffer,
                               size_t count,
                               kirsh_dtype_t dtype,
                               int32_t root,
                               const struct kirsh_options_t *options,
                               struct kirsh_work_t **work_out);

// Ends once every rank has come to it.
kirsh_status_t kirsh_barrier(struct kirsh_comm_t *comm,
                             const struct kirsh_options_t *options,
                             struct kirsh_work_t **work_out);

// Gives every rank the arrays of all, one behind the other in the order of ranks. `count` is what each
// rank sends: recv has the world size times as many elements. In place: send == recv + rank * count.
kirsh_status_t kirsh_allgather(struct kirsh_comm_t *comm,
                               const void *send,
                               void *recv,
                               size_t count,
                               kirsh_dtype_t dtype,
                               const struct kirsh_options_t *options,
                               struct kirsh_work_t **work_out);

// Gives the root the arrays of all ranks, one behind the other in the order of ranks. `count` is what
// each rank sends: the root's recv has the world size times as many elements. In place, on the root:
// send == recv + rank * count. Off the root recv is not looked at, and may be NULL.
kirsh_status_t kirsh_gather(struct kirsh_comm_t *comm,
                            const void *send,
                            void *recv,
                            size_t count,
                            kirsh_dtype_t dtype,
                            int32_t root,
                            const struct kirsh_options_t *options,
                            struct kirsh_work_t **work_out);

// Gives rank r part r of the root's array. `count` is what each rank receives: the root's send has the
// world size times as many elements. In place, on the root: recv == send + rank * count. Off the root
// send is not looked at, and may be NULL.
kirsh_status_t kirsh_scatter(struct kirsh_comm_t *comm,
                             const void *send,
                             void *recv,
                             size_t count,
                             kirsh_dtype_t dtype,
                             int32_t root,
                             const struct kirsh_options_t *options,
                             struct kirsh_work_t **work_out);

// Gives rank r part r of every rank's array, one behind the other in the order of ranks. `count` is what
// each pair of ranks exchanges: send and recv have the world size times as many elements. In place:
// send == recv, at the price of a copy of what is sent.
kirsh_status_t kirsh_alltoall(struct kirsh_comm_t *comm,
                              const void *send,
                              void *recv,
                              size_t count,
                              kirsh_dtype_t dtype,
                              const struct kirsh_options_t *options,
                              struct kirsh_work_t **work_out);

// Combines the arrays of all ranks, element by element, and gives every rank the same result, the same
// to the bit. `count` elements go in and come out, as many on every rank. In place: send == recv.
kirsh_status_t kirsh_allreduce(struct kirsh_comm_t *comm,
                               const void *send,
                               void *recv,
                               size_t count,
                               kirsh_dtype_t dtype,
                               kirsh_op_t op,
                               const struct kirsh_options_t *options,
                               struct kirsh_work_t **work_out);

// Combines many arrays in one operation, each in place, as if they lay one behind the other: all
// gradients of a model without packing them. The counts sum up to the same number on every rank; how
// that is cut into arrays is each rank's own business. The `n` descriptions are only read during the
// call, the arrays are lent. They must not overlap. arrays may be NULL where `n` is 0.
kirsh_status_t kirsh_allreduce_many(struct kirsh_comm_t *comm,
                                    const struct kirsh_array_t *arrays,
                                    size_t n,
                                    kirsh_dtype_t dtype,
                                    kirsh_op_t op,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_work_t **work_out);

// Combines the arrays of all ranks into the root's recv. `count` is that of every array. In place:
// send == recv on the root. Off the root recv is neither read nor written, and may be NULL.
kirsh_status_t kirsh_reduce(struct kirsh_comm_t *comm,
                            const void *send,
                            void *recv,
                            size_t count,
                            kirsh_dtype_t dtype,
                            kirsh_op_t op,
                            int32_t root,
                            const struct kirsh_options_t *options,
                            struct kirsh_work_t **work_out);

// Combines the arrays of all ranks, of which rank r gets part r. `count` is what each rank receives:
// send has the world size times as many elements. In place: recv == send + rank * count.
kirsh_status_t kirsh_reduce_scatter(struct kirsh_comm_t *comm,
                                    const void *send,
                                    void *recv,
                                    size_t count,
                                    kirsh_dtype_t dtype,
                                    kirsh_op_t op,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_work_t **work_out);

// Gives rank r what the arrays of ranks 0 to r combine to. `count` is that of every array. In place:
// send == recv. Knows every operator but KIRSH_AVG.
kirsh_status_t kirsh_scan(struct kirsh_comm_t *comm,
                          const void *send,
                          void *recv,
                          size_t count,
                          kirsh_dtype_t dtype,
                          kirsh_op_t op,
                          const struct kirsh_options_t *options,
                          struct kirsh_work_t **work_out);

// Gives rank r what the arrays of the ranks below r combine to: the scan without this rank's own. For
// rank 0 that is nothing, and its recv stays as it is. In place: send == recv. Knows every operator but
// KIRSH_AVG.
kirsh_status_t kirsh_exscan(struct kirsh_comm_t *comm,
                            const void *send,
                            void *recv,
                            size_t count,
                            kirsh_dtype_t dtype,
                            kirsh_op_t op,
                            const struct kirsh_options_t *options,
                            struct kirsh_work_t **work_out);

// kirsh_allgather() with counts[r] elements from rank r, which all ranks know alike: send has
// counts[rank]. Part r is put at recv + displacements[r]. In place: send is where this rank's part of
// recv is, packed.
kirsh_status_t kirsh_allgatherv(struct kirsh_comm_t *comm,
                                const void *send,
                                void *recv,
                                const size_t *counts,
                                const size_t *displacements,
                                kirsh_dtype_t dtype,
                                const struct kirsh_options_t *options,
                                struct kirsh_work_t **work_out);

// kirsh_reduce_scatter() with counts[r] elements for rank r, which all ranks know alike: recv has
// counts[rank]. Part r is taken from send + displacements[r]. In place: recv is where this rank's part
// of send is, packed.
kirsh_status_t kirsh_reduce_scatterv(struct kirsh_comm_t *comm,
                                     const void *send,
                                     void *recv,
                                     const size_t *counts,
                                     const size_t *displacements,
                                     kirsh_dtype_t dtype,
                                     kirsh_op_t op,
                                     const struct kirsh_options_t *options,
                                     struct kirsh_work_t **work_out);

// kirsh_gather() with counts[r] elements from rank r, which sends send_count: rank r and the root must
// agree on that. Part r is put at the root's recv + displacements[r]. In place, on the root: send is
// where its own part of recv is, packed. Off the root recv, counts and displacements are not looked at,
// and may be NULL.
kirsh_status_t kirsh_gatherv(struct kirsh_comm_t *comm,
                             const void *send,
                             size_t send_count,
                             void *recv,
                             const size_t *counts,
                             const size_t *displacements,
                             kirsh_dtype_t dtype,
                             int32_t root,
                             const struct kirsh_options_t *options,
                             struct kirsh_work_t **work_out);

// kirsh_scatter() with counts[r] elements for rank r, which receives recv_count: rank r and the root must
// agree on that. Part r is taken from the root's send + displacements[r]. In place, on the root: recv is
// where its own part of send is, packed. Off the root send, counts and displacements are not looked at,
// and may be NULL.
kirsh_status_t kirsh_scatterv(struct kirsh_comm_t *comm,
                              const void *send,
                              const size_t *counts,
                              const size_t *displacements,
                              void *recv,
                              size_t recv_count,
                              kirsh_dtype_t dtype,
                              int32_t root,
                              const struct kirsh_options_t *options,
                              struct kirsh_work_t **work_out);

// kirsh_alltoall() with send_counts[r] elements to rank r and recv_counts[r] from it: each pair of ranks
// must agree on both. Part r is taken from send + send_displacements[r] and put at
// recv + recv_displacements[r]. In place: send == recv, with equal displacements or none.
kirsh_status_t kirsh_alltoallv(struct kirsh_comm_t *comm,
                               const void *send,
                               const size_t *send_counts,
                               const size_t *send_displacements,
                               void *recv,
                               const size_t *recv_counts,
                               const size_t *recv_displacements,
                               kirsh_dtype_t dtype,
                               const struct kirsh_options_t *options,
                               struct kirsh_work_t **work_out);

// Makes the call that was prepared: as the function that the plan is named after, but nothing is
// validated, chosen or allocated any more. Collective; each rank may make its part of the call with or
// without a plan. One plan may be started again while an earlier run goes on, but only where the arrays
// bear it: the runs follow each other.
kirsh_status_t kirsh_plan_run(struct kirsh_plan_t *plan,
                              struct kirsh_work_t **work_out);

// Frees the plan; NULL is allowed. Operations that were started from it go on.
void kirsh_plan_destroy(struct kirsh_plan_t *plan);

// Prepares kirsh_broadcast().
kirsh_status_t kirsh_plan_broadcast(struct kirsh_comm_t *comm,
                                    void *buffer,
                                    size_t count,
                                    kirsh_dtype_t dtype,
                                    int32_t root,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_plan_t **plan_out);

// Prepares kirsh_barrier().
kirsh_status_t kirsh_plan_barrier(struct kirsh_comm_t *comm,
                                  const struct kirsh_options_t *options,
                                  struct kirsh_plan_t **plan_out);

// Prepares kirsh_allgather().
kirsh_status_t kirsh_plan_allgather(struct kirsh_comm_t *comm,
                                    const void *send,
                                    void *recv,
                                    size_t count,
                                    kirsh_dtype_t dtype,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_plan_t **plan_out);

// Prepares kirsh_gather().
kirsh_status_t kirsh_plan_gather(struct kirsh_comm_t *comm,
                                 const void *send,
                                 void *recv,
                                 size_t count,
                                 kirsh_dtype_t dtype,
                                 int32_t root,
                                 const struct kirsh_options_t *options,
                                 struct kirsh_plan_t **plan_out);

// Prepares kirsh_scatter().
kirsh_status_t kirsh_plan_scatter(struct kirsh_comm_t *comm,
                                  const void *send,
                                  void *recv,
                                  size_t count,
                                  kirsh_dtype_t dtype,
                                  int32_t root,
                                  const struct kirsh_options_t *options,
                                  struct kirsh_plan_t **plan_out);

// Prepares kirsh_alltoall().
kirsh_status_t kirsh_plan_alltoall(struct kirsh_comm_t *comm,
                                   const void *send,
                                   void *recv,
                                   size_t count,
                                   kirsh_dtype_t dtype,
                                   const struct kirsh_options_t *options,
                                   struct kirsh_plan_t **plan_out);

// Prepares kirsh_allreduce().
kirsh_status_t kirsh_plan_allreduce(struct kirsh_comm_t *comm,
                                    const void *send,
                                    void *recv,
                                    size_t count,
                                    kirsh_dtype_t dtype,
                                    kirsh_op_t op,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_plan_t **plan_out);

// Prepares kirsh_allreduce_many().
kirsh_status_t kirsh_plan_allreduce_many(struct kirsh_comm_t *comm,
                                         const struct kirsh_array_t *arrays,
                                         size_t n,
                                         kirsh_dtype_t dtype,
                                         kirsh_op_t op,
                                         const struct kirsh_options_t *options,
                                         struct kirsh_plan_t **plan_out);

// Prepares kirsh_reduce().
kirsh_status_t kirsh_plan_reduce(struct kirsh_comm_t *comm,
                                 const void *send,
                                 void *recv,
                                 size_t count,
                                 kirsh_dtype_t dtype,
                                 kirsh_op_t op,
                                 int32_t root,
                                 const struct kirsh_options_t *options,
                                 struct kirsh_plan_t **plan_out);

// Prepares kirsh_reduce_scatter().
kirsh_status_t kirsh_plan_reduce_scatter(struct kirsh_comm_t *comm,
                                         const void *send,
                                         void *recv,
                                         size_t count,
                                         kirsh_dtype_t dtype,
                                         kirsh_op_t op,
                                         const struct kirsh_options_t *options,
                                         struct kirsh_plan_t **plan_out);

// Prepares kirsh_scan().
kirsh_status_t kirsh_plan_scan(struct kirsh_comm_t *comm,
                               const void *send,
                               void *recv,
                               size_t count,
                               kirsh_dtype_t dtype,
                               kirsh_op_t op,
                               const struct kirsh_options_t *options,
                               struct kirsh_plan_t **plan_out);

// Prepares kirsh_exscan().
kirsh_status_t kirsh_plan_exscan(struct kirsh_comm_t *comm,
                                 const void *send,
                                 void *recv,
                                 size_t count,
                                 kirsh_dtype_t dtype,
                                 kirsh_op_t op,
                                 const struct kirsh_options_t *options,
                                 struct kirsh_plan_t **plan_out);

// Prepares kirsh_allgatherv().
kirsh_status_t kirsh_plan_allgatherv(struct kirsh_comm_t *comm,
                                     const void *send,
                                     void *recv,
                                     const size_t *counts,
                                     const size_t *displacements,
                                     kirsh_dtype_t dtype,
                                     const struct kirsh_options_t *options,
                                     struct kirsh_plan_t **plan_out);

// Prepares kirsh_reduce_scatterv().
kirsh_status_t kirsh_plan_reduce_scatterv(struct kirsh_comm_t *comm,
                                          const void *send,
                                          void *recv,
                                          const size_t *counts,
                                          const size_t *displacements,
                                          kirsh_dtype_t dtype,
                                          kirsh_op_t op,
                                          const struct kirsh_options_t *options,
                                          struct kirsh_plan_t **plan_out);

// Prepares kirsh_gatherv().
kirsh_status_t kirsh_plan_gatherv(struct kirsh_comm_t *comm,
                                  const void *send,
                                  size_t send_count,
                                  void *recv,
                                  const size_t *counts,
                                  const size_t *displacements,
                                  kirsh_dtype_t dtype,
                                  int32_t root,
                                  const struct kirsh_options_t *options,
                                  struct kirsh_plan_t **plan_out);

// Prepares kirsh_scatterv().
kirsh_status_t kirsh_plan_scatterv(struct kirsh_comm_t *comm,
                                   const void *send,
                                   const size_t *counts,
                                   const size_t *displacements,
                                   void *recv,
                                   size_t recv_count,
                                   kirsh_dtype_t dtype,
                                   int32_t root,
                                   const struct kirsh_options_t *options,
                                   struct kirsh_plan_t **plan_out);

// Prepares kirsh_alltoallv().
kirsh_status_t kirsh_plan_alltoallv(struct kirsh_comm_t *comm,
                                    const void *send,
                                    const size_t *send_counts,
                                    const size_t *send_displacements,
                                    void *recv,
                                    const size_t *recv_counts,
                                    const size_t *recv_displacements,
                                    kirsh_dtype_t dtype,
                                    const struct kirsh_options_t *options,
                                    struct kirsh_plan_t **plan_out);

// Sends `count` elements to one rank, which may be this one, under a tag of your choice. The message goes
// to the first receive there that fits, and messages of one tag arrive in the order in which they were
// sent. Blocks until `data` may be changed again: a short message may still be on its way then, a long
// one has been received, and so has a short one where 256 messages or 1 MiB wait there already. Two ranks that send to one another before they receive wait for ever where the
// messages are long: use kirsh_sendrecv, or a work_out. Messages take no part in the order of
// collectives; of the options only timeout_ns and name are for them. What is refused is nobody
// else's business, and what fails with KIRSH_SCOPE_CALL leaves the communicator usable, a timeout
// among them unless bytes of the message are stuck on their way.
kirsh_status_t kirsh_send(struct kirsh_comm_t *comm,
                          const void *data,
                          size_t count,
                          kirsh_dtype_t dtype,
                          int32_t to,
                          uint32_t tag,
                          const struct kirsh_options_t *options,
                          struct kirsh_work_t **work_out);

// Receives a message of at most `count` elements from `source` (or KIRSH_ANY_SOURCE) under `tag` (or
// KIRSH_ANY_TAG): the first that fits. A longer one, or one of another dtype, is dropped, with
// KIRSH_MISMATCH and KIRSH_SCOPE_CALL. `received_out` may be NULL; where work_out is not, it must be, and
// kirsh_work_received tells instead.
kirsh_status_t kirsh_recv(struct kirsh_comm_t *comm,
                          void *data,
                          size_t count,
                          kirsh_dtype_t dtype,
                          int32_t source,
                          int64_t tag,
                          struct kirsh_received_t *received_out,
                          const struct kirsh_options_t *options,
                          struct kirsh_work_t **work_out);

// Sends one message and receives another at once, both under one tag, so that two ranks, or a ring of
// them, can exchange messages of any length. Blocks until both are done. The buffers must not overlap.
// `received_out` may be NULL.
kirsh_status_t kirsh_sendrecv(struct kirsh_comm_t *comm,
                              const void *send,
                              size_t send_count,
                              kirsh_dtype_t send_dtype,
                              int32_t to,
                              void *recv,
                              size_t recv_count,
                              kirsh_dtype_t recv_dtype,
                              int32_t source,
                              uint32_t tag,
                              struct kirsh_received_t *received_out,
                              const struct kirsh_options_t *options);

// What a started receive has received, once it has ended well; before that, and for any other
// operation, KIRSH_INVALID_ARGUMENT.
kirsh_status_t kirsh_work_received(struct kirsh_work_t *work,
                                   struct kirsh_received_t *received_out);

// Waits for a started operation: KIRSH_OK once it has ended well, its failure once it has failed (both
// as often as you ask), KIRSH_PENDING when timeout_ns has passed. That ends only the wait: the
// operation goes on, its buffers stay lent, and only its own deadline ends it. 0 and KIRSH_FOREVER wait
// for the end; to look without waiting there is kirsh_work_test().
kirsh_status_t kirsh_work_wait(struct kirsh_work_t *work,
                               int64_t timeout_ns);

// The same without waiting: KIRSH_OK, KIRSH_PENDING or the operation's failure.
kirsh_status_t kirsh_work_test(struct kirsh_work_t *work);

// Waits for all of these operations, which may be of several communicators: KIRSH_OK once all have ended
// well, KIRSH_PENDING when timeout_ns has passed (0 and KIRSH_FOREVER wait for the end), the failure of
// the first that fails as soon as it does, whatever becomes of the others: their buffers stay lent. NULL
// entries are passed over, and so is a NULL works where `n` is 0. The handles stay yours to destroy.
kirsh_status_t kirsh_work_wait_all(struct kirsh_work_t *const *works,
                                   size_t n,
                                   int64_t timeout_ns);

// Waits until one of these operations is over, well or not: writes its index, also where it failed, and
// returns KIRSH_OK or its failure. The first of them where several are over already. KIRSH_PENDING when
// timeout_ns has passed, as above. NULL entries are passed over; where there are no others the result is
// KIRSH_OK with an index of `n`. So set the entry to NULL that you have had.
kirsh_status_t kirsh_work_wait_any(struct kirsh_work_t *const *works,
                                   size_t n,
                                   int64_t timeout_ns,
                                   size_t *index_out);

// Frees the handle; NULL is allowed. Where the operation is not over this BLOCKS until it is, because
// the library may still be writing into its buffers. How it ended is not told.
void kirsh_work_destroy(struct kirsh_work_t *work);

// Answers a get or wait with these bytes, which are copied.
kirsh_status_t kirsh_reply_set_value(struct kirsh_reply_t *reply, const void *value, size_t length);

// Says why a store's callback is about to return a failure. The text is copied and becomes part of
// the message that kirsh_comm_create() leaves.
kirsh_status_t kirsh_reply_set_message(struct kirsh_reply_t *reply, const char *message);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* KIRSH_H */
