/* Kirsh for C++20: kirsh.h with owners, spans and exceptions. Header only; link with libkirsh.
 *
 *     #include <kirsh.hpp>
 *
 *     auto comm = kirsh::Communicator::create();      // blocks until all ranks have come
 *     std::vector<float> gradient(1000, 1.0f);
 *     comm.broadcast(gradient, 0);                    // rank 0's values, everywhere
 *     comm.allreduce(gradient, kirsh::ReduceOp::avg);       // in place
 *
 *     auto work = comm.start_allreduce(std::move(gradient));    // owned by the work ...
 *     ...
 *     gradient = work.wait();                                   // ... and given back
 *
 * What kirsh.h says of threads, matching calls, blocking, errors and forks holds here too. On top:
 * - Owners move and do not copy. A moved-from or default Work is empty and may only be destroyed,
 *   assigned to, or asked whether it is valid.
 * - A buffer is anything contiguous: std::vector, std::array, std::span, a C array. Elements are bool,
 *   the integers, float, double, std::complex of these, kirsh::float16 and kirsh::bfloat16; moved, not
 *   reduced: std::byte, char, kirsh::float8_e4m3fn and kirsh::float8_e5m2.
 * - Failures are exceptions under kirsh::Error, one class for each kind.
 * - A Work never leaves a buffer lent: its destructor BLOCKS until the operation is over. A buffer given
 *   as a span must outlive its Work (declare it first); a vector that was moved in cannot go wrong.
 * - Timeouts are std::chrono::nanoseconds: zero is the default, kirsh::forever none.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef KIRSH_HPP
#define KIRSH_HPP

#include <kirsh.h>

#include <algorithm>
#include <chrono>
#include <complex>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <optional>
#include <ranges>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#if defined(__has_include)
#if __has_include(<stdfloat>)
#include <stdfloat>
#endif
#endif

namespace kirsh {

/// A timeout that never runs out.
inline constexpr std::chrono::nanoseconds forever{KIRSH_FOREVER};

/// How two elements become one; see kirsh_op_t for which types know which.
enum class ReduceOp : std::int32_t {
    sum = KIRSH_SUM,
    prod = KIRSH_PROD,
    min = KIRSH_MIN,
    max = KIRSH_MAX,
    avg = KIRSH_AVG,
    premul_sum = KIRSH_PREMUL_SUM,
    band = KIRSH_BAND,
    bor = KIRSH_BOR,
    bxor = KIRSH_BXOR,
    land = KIRSH_LAND,
    lor = KIRSH_LOR,
    lxor = KIRSH_LXOR,
};

/// How a collective is carried out.
enum class Algorithm : std::int32_t {
    automatic = KIRSH_ALGORITHM_AUTO,
    ring = KIRSH_ALGORITHM_RING,
    recursive_doubling = KIRSH_ALGORITHM_RECURSIVE_DOUBLING,
    tree = KIRSH_ALGORITHM_TREE,
    binomial = KIRSH_ALGORITHM_BINOMIAL,
    chain = KIRSH_ALGORITHM_CHAIN,
    dissemination = KIRSH_ALGORITHM_DISSEMINATION,
    halving_doubling = KIRSH_ALGORITHM_HALVING_DOUBLING,
    double_tree = KIRSH_ALGORITHM_DOUBLE_TREE,
    scatter_allgather = KIRSH_ALGORITHM_SCATTER_ALLGATHER,
    reduce_scatter_gather = KIRSH_ALGORITHM_REDUCE_SCATTER_GATHER,
    bruck = KIRSH_ALGORITHM_BRUCK,
    recursive_halving = KIRSH_ALGORITHM_RECURSIVE_HALVING,
    pairwise = KIRSH_ALGORITHM_PAIRWISE,
    linear = KIRSH_ALGORITHM_LINEAR,
};

/// How float elements travel.
enum class Wire : std::int32_t {
    none = KIRSH_WIRE_NONE,
    by_default = KIRSH_WIRE_DEFAULT,
    bf16 = KIRSH_WIRE_BF16,
    f16 = KIRSH_WIRE_F16,
    int8 = KIRSH_WIRE_INT8,
};

/// What a failure leaves unusable.
enum class Scope : std::int32_t {
    call = KIRSH_SCOPE_CALL,
    link = KIRSH_SCOPE_LINK,
    communicator = KIRSH_SCOPE_COMMUNICATOR,
};

/// How much is logged. Each level includes those above it.
enum class LogLevel : std::int32_t {
    off = KIRSH_LOG_OFF,
    error = KIRSH_LOG_ERROR,
    warn = KIRSH_LOG_WARN,
    info = KIRSH_LOG_INFO,
    debug = KIRSH_LOG_DEBUG,
    trace = KIRSH_LOG_TRACE,
};

// ---------------------------------------------------------------------------------------- errors

/// Any failure of the library. what() is the whole text; the members are its parts.
class Error : public std::runtime_error {
public:
    Error(kirsh_status_t kind, const std::string &message)
        : std::runtime_error(message), kind_(kind) {}

    /// What went wrong, as the status of the C interface.
    [[nodiscard]] kirsh_status_t kind() const noexcept { return kind_; }
    /// What it leaves unusable.
    [[nodiscard]] Scope scope() const noexcept { return scope_; }
    /// The rank that reports it: this process's own.
    [[nodiscard]] std::optional<int> rank() const noexcept { return rank_; }
    /// The rank that it is about.
    [[nodiscard]] std::optional<int> peer() const noexcept { return peer_; }
    /// The number of the operation within its communicator.
    [[nodiscard]] std::optional<std::int64_t> sequence() const noexcept { return sequence_; }
    /// The operation, such as "allreduce"; empty where there was none.
    [[nodiscard]] const std::string &operation() const noexcept { return operation_; }

    /// Takes over what the C interface knows about the last failure of this thread.
    Error &fill(const kirsh_error_info_t &info) {
        scope_ = static_cast<Scope>(info.scope);
        if (info.rank >= 0) {
            rank_ = info.rank;
        }
        if (info.peer >= 0) {
            peer_ = info.peer;
        }
        if (info.sequence >= 0) {
            sequence_ = info.sequence;
        }
        operation_ = info.operation;
        return *this;
    }

private:
    kirsh_status_t kind_;
    Scope scope_ = Scope::call;
    std::optional<int> rank_;
    std::optional<int> peer_;
    std::optional<std::int64_t> sequence_;
    std::string operation_;
};

/// The failures of one kind.
template <kirsh_status_t Kind>
class ErrorOf : public Error {
public:
    explicit ErrorOf(const std::string &message) : Error(Kind, message) {}
};

using InvalidArgumentError = ErrorOf<KIRSH_INVALID_ARGUMENT>;
using UnsupportedError = ErrorOf<KIRSH_UNSUPPORTED>;
using TimeoutError = ErrorOf<KIRSH_TIMEOUT>;
using PeerLostError = ErrorOf<KIRSH_PEER_LOST>;
using MismatchError = ErrorOf<KIRSH_MISMATCH>;
using RefusedError = ErrorOf<KIRSH_REFUSED>;
using CorruptError = ErrorOf<KIRSH_CORRUPT>;
using ProtocolError = ErrorOf<KIRSH_PROTOCOL>;
using AbortedError = ErrorOf<KIRSH_ABORTED>;
using InterruptedError = ErrorOf<KIRSH_INTERRUPTED>;
using RendezvousError = ErrorOf<KIRSH_RENDEZVOUS>;
using AuthenticationError = ErrorOf<KIRSH_AUTHENTICATION>;
using SystemError = ErrorOf<KIRSH_SYSTEM>;
using ForkedError = ErrorOf<KIRSH_FORKED>;
using ClosedError = ErrorOf<KIRSH_CLOSED>;
using ConfigurationError = ErrorOf<KIRSH_CONFIGURATION>;
using InternalError = ErrorOf<KIRSH_INTERNAL>;

namespace detail {

template <class E>
[[noreturn]] void throw_as(const kirsh_error_info_t &info) {
    E error(info.message);
    error.fill(info);
    throw error;
}

/// Throws the last failure of this thread as the class of its kind.
[[noreturn]] inline void throw_last(kirsh_status_t status) {
    kirsh_error_info_t info = KIRSH_ERROR_INFO_INIT;
    if (kirsh_error_info(&info) != KIRSH_OK || info.status != status) {
        throw Error(status, kirsh_status_string(status));
    }
    switch (status) {
    case KIRSH_INVALID_ARGUMENT: throw_as<InvalidArgumentError>(info);
    case KIRSH_UNSUPPORTED: throw_as<UnsupportedError>(info);
    case KIRSH_TIMEOUT: throw_as<TimeoutError>(info);
    case KIRSH_PEER_LOST: throw_as<PeerLostError>(info);
    case KIRSH_MISMATCH: throw_as<MismatchError>(info);
    case KIRSH_REFUSED: throw_as<RefusedError>(info);
    case KIRSH_CORRUPT: throw_as<CorruptError>(info);
    case KIRSH_PROTOCOL: throw_as<ProtocolError>(info);
    case KIRSH_ABORTED: throw_as<AbortedError>(info);
    case KIRSH_INTERRUPTED: throw_as<InterruptedError>(info);
    case KIRSH_RENDEZVOUS: throw_as<RendezvousError>(info);
    case KIRSH_AUTHENTICATION: throw_as<AuthenticationError>(info);
    case KIRSH_SYSTEM: throw_as<SystemError>(info);
    case KIRSH_FORKED: throw_as<ForkedError>(info);
    case KIRSH_CLOSED: throw_as<ClosedError>(info);
    case KIRSH_CONFIGURATION: throw_as<ConfigurationError>(info);
    case KIRSH_INTERNAL: throw_as<InternalError>(info);
    case KIRSH_OK:
    case KIRSH_PENDING: break;
    }
    // A kind that a newer library has and this header has not.
    Error error(status, info.message);
    throw error.fill(info);
}

inline void check(kirsh_status_t status) {
    if (status != KIRSH_OK) {
        throw_last(status);
    }
}

/// For statuses that may also be pending: whether the operation is over.
inline bool check_over(kirsh_status_t status) {
    if (status == KIRSH_PENDING) {
        return false;
    }
    check(status);
    return true;
}

}  // namespace detail

// ---------------------------------------------------------------------------- elements and buffers

/// IEEE 754 binary16, as bits: the library folds them, conversions are the program's.
struct float16 {
    std::uint16_t bits;
    friend bool operator==(float16, float16) = default;
};

/// The upper half of a float, as bits: the library folds them, conversions are the program's.
struct bfloat16 {
    std::uint16_t bits;
    friend bool operator==(bfloat16, bfloat16) = default;
};

/// A float of 4 bits of exponent and 3 of mantissa, without infinities, as bits: it moves, but does not
/// reduce.
struct float8_e4m3fn {
    std::uint8_t bits;
    friend bool operator==(float8_e4m3fn, float8_e4m3fn) = default;
};

/// A float of 5 bits of exponent and 2 of mantissa, as bits: it moves, but does not reduce.
struct float8_e5m2 {
    std::uint8_t bits;
    friend bool operator==(float8_e5m2, float8_e5m2) = default;
};

namespace detail {

template <class T>
constexpr std::optional<kirsh_dtype_t> dtype_of() {
    if constexpr (std::same_as<T, bool>) {
        return KIRSH_BOOL;
    } else if constexpr (std::same_as<T, std::byte> || std::same_as<T, char>) {
        return KIRSH_BYTE;
    } else if constexpr (std::same_as<T, float16>) {
        return KIRSH_FLOAT16;
    } else if constexpr (std::same_as<T, bfloat16>) {
        return KIRSH_BFLOAT16;
#ifdef __STDCPP_FLOAT16_T__
    } else if constexpr (std::same_as<T, std::float16_t>) {
        return KIRSH_FLOAT16;
#endif
#ifdef __STDCPP_BFLOAT16_T__
    } else if constexpr (std::same_as<T, std::bfloat16_t>) {
        return KIRSH_BFLOAT16;
#endif
    } else if constexpr (std::same_as<T, float>) {
        return KIRSH_FLOAT32;
    } else if constexpr (std::same_as<T, double>) {
        return KIRSH_FLOAT64;
    } else if constexpr (std::same_as<T, std::complex<float>>) {
        return KIRSH_COMPLEX64;
    } else if constexpr (std::same_as<T, std::complex<double>>) {
        return KIRSH_COMPLEX128;
    } else if constexpr (std::same_as<T, float8_e4m3fn>) {
        return KIRSH_FLOAT8_E4M3FN;
    } else if constexpr (std::same_as<T, float8_e5m2>) {
        return KIRSH_FLOAT8_E5M2;
    } else if constexpr (std::same_as<T, wchar_t> || std::same_as<T, char8_t>
                         || std::same_as<T, char16_t> || std::same_as<T, char32_t>) {
        return std::nullopt;
    } else if constexpr (std::signed_integral<T>) {
        switch (sizeof(T)) {
        case 1: return KIRSH_INT8;
        case 2: return KIRSH_INT16;
        case 4: return KIRSH_INT32;
        case 8: return KIRSH_INT64;
        default: return std::nullopt;
        }
    } else if constexpr (std::unsigned_integral<T>) {
        switch (sizeof(T)) {
        case 1: return KIRSH_UINT8;
        case 2: return KIRSH_UINT16;
        case 4: return KIRSH_UINT32;
        case 8: return KIRSH_UINT64;
        default: return std::nullopt;
        }
    } else {
        return std::nullopt;
    }
}

}  // namespace detail

/// A type that the library knows as an element.
template <class T>
concept Element = detail::dtype_of<T>().has_value();

/// The number of an element type.
template <Element T>
inline constexpr kirsh_dtype_t dtype = *detail::dtype_of<T>();

/// A contiguous run of elements that stays where it is when the call returns: a vector or array that has
/// a name, or a span.
template <class R>
concept Buffer = std::ranges::contiguous_range<R> && std::ranges::sized_range<R>
    && std::ranges::borrowed_range<R> && Element<std::remove_cv_t<
        std::remove_reference_t<std::ranges::range_reference_t<R>>>>;

/// A buffer whose elements can be written.
template <class R>
concept MutableBuffer = Buffer<R>
    && !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

/// The type of a buffer's elements.
template <Buffer R>
using element_t = std::remove_cv_t<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

namespace detail {

template <class B>
struct Lent {};
template <class T, std::size_t N>
    requires Element<std::remove_cv_t<T>>
struct Lent<std::span<T, N>> {
    using type = std::span<T>;
};
template <class T, class A>
    requires(Element<T> && std::ranges::contiguous_range<std::vector<T, A>>)
struct Lent<std::vector<T, A>> {
    using type = std::vector<T, A>;
};

}  // namespace detail

/// How a Work keeps a buffer: a span as a span, which someone else keeps alive, a vector as itself.
template <class B>
using lent_t = typename detail::Lent<std::remove_cvref_t<B>>::type;

/// What a started operation can write to: a span of elements, or a vector that is moved in.
template <class B>
concept Lendable = requires { typename lent_t<B>; } && MutableBuffer<lent_t<B> &>
    && (!std::is_lvalue_reference_v<B> || std::ranges::borrowed_range<std::remove_cvref_t<B>>);

/// Two buffers of one type of elements, the second one to write to.
template <class In, class Out>
concept SameElements = Buffer<In> && MutableBuffer<Out> && std::same_as<element_t<In>, element_t<Out>>;

// ------------------------------------------------------------------------- configuration, options

/// A dictionary that all ranks share, to meet in instead of a rendezvous. The rules are those of
/// kirsh_store_t: calls come from any thread, several at a time. What these functions throw becomes a
/// RendezvousError with its text.
class Store {
public:
    virtual ~Store() = default;
    /// Writes a value, over an older one if there is one.
    virtual void set(std::string_view key, std::span<const std::byte> value) = 0;
    /// The value, or nothing where nobody has set it yet.
    virtual std::optional<std::vector<std::byte>> get(std::string_view key) = 0;
    /// The same, but waits up to a timeout for the key to be set.
    virtual std::optional<std::vector<std::byte>> wait(std::string_view key,
                                                       std::chrono::nanoseconds timeout) = 0;
    /// Adds to a counter, atomically across ranks, and returns the sum.
    virtual std::int64_t add(std::string_view key, std::int64_t delta) = 0;
};

/// How to create a communicator. Everything left out comes from the environment.
struct Config {
    /// Set together with world_size.
    std::optional<int> rank = std::nullopt;
    std::optional<int> world_size = std::nullopt;
    /// "tcp://host:port" or "file://path".
    std::string rendezvous = {};
    /// Instead of a rendezvous.
    std::shared_ptr<Store> store = nullptr;
    /// Keeps jobs apart that meet in one place.
    std::string job_id = {};
    /// How long the ranks may take to find together.
    std::chrono::nanoseconds join_timeout{0};
    /// How long each operation may take unless its options say otherwise.
    std::chrono::nanoseconds timeout{0};
    /// How float elements travel in calls that can be encoded and say nothing else; rank 0's counts.
    Wire wire = Wire::by_default;
};

/// What can be said with one call: `comm.barrier({.timeout = 5s})`.
struct Options {
    /// How long the operation may take; when it runs out, the communicator is over.
    std::chrono::nanoseconds timeout{0};
    /// This rank's factor for ReduceOp::premul_sum; 0 is not set, which is a factor of 1.
    double scale = 0.0;
    Algorithm algorithm = Algorithm::automatic;
    /// What to call the operation in this rank's log. Only read during the call.
    const char *name = nullptr;
    /// This rank's weight in a mean, for ReduceOp::avg; see kirsh_options_t.
    std::optional<double> weight = std::nullopt;
    /// How float elements travel in allreduce, reduce_scatter(v) and allgather(v); see kirsh_options_t.
    Wire wire = Wire::by_default;
};

namespace detail {

/// Points into the options, which outlive the call.
inline kirsh_options_t to_c(const Options &options) {
    kirsh_options_t c = KIRSH_OPTIONS_INIT;
    c.timeout_ns = options.timeout.count();
    c.scale = options.scale;
    c.algorithm = static_cast<kirsh_algorithm_t>(options.algorithm);
    c.name = options.name;
    c.weight = options.weight ? &*options.weight : nullptr;
    c.wire = static_cast<kirsh_wire_t>(options.wire);
    return c;
}

/// The callbacks of kirsh_store_t over a Store. Nothing may be thrown through the library, so what the
/// store throws becomes a status and a message.
struct StoreCallbacks {
    using Owner = std::shared_ptr<Store>;

    template <class Body>
    static kirsh_status_t guarded(void *user, kirsh_reply_t *reply, Body &&body) noexcept {
        try {
            return body(**static_cast<Owner *>(user));
        } catch (const std::exception &error) {
            (void)kirsh_reply_set_message(reply, error.what());
        } catch (...) {
            (void)kirsh_reply_set_message(reply, "it threw what is no std::exception");
        }
        return KIRSH_RENDEZVOUS;
    }

    static kirsh_status_t answer(kirsh_reply_t *reply,
                                 const std::optional<std::vector<std::byte>> &value) {
        return value ? kirsh_reply_set_value(reply, value->data(), value->size()) : KIRSH_PENDING;
    }

    static kirsh_status_t set(void *user, const char *key, const void *value, std::size_t length,
                              kirsh_reply_t *reply) noexcept {
        return guarded(user, reply, [&](Store &store) {
            store.set(key, {static_cast<const std::byte *>(value), length});
            return KIRSH_OK;
        });
    }

    static kirsh_status_t get(void *user, const char *key, kirsh_reply_t *reply) noexcept {
        return guarded(user, reply, [&](Store &store) { return answer(reply, store.get(key)); });
    }

    static kirsh_status_t wait(void *user, const char *key, std::int64_t timeout_ns,
                               kirsh_reply_t *reply) noexcept {
        return guarded(user, reply, [&](Store &store) {
            return answer(reply, store.wait(key, std::chrono::nanoseconds(timeout_ns)));
        });
    }

    static kirsh_status_t add(void *user, const char *key, std::int64_t delta, std::int64_t *sum,
                              kirsh_reply_t *reply) noexcept {
        return guarded(user, reply, [&](Store &store) {
            *sum = store.add(key, delta);
            return KIRSH_OK;
        });
    }

    static void release(void *user) noexcept { delete static_cast<Owner *>(user); }

    static kirsh_store_t over(const Owner &store) {
        kirsh_store_t c = KIRSH_STORE_INIT;
        c.user = new Owner(store);
        c.set = set;
        c.get = get;
        c.wait = wait;
        c.add = add;
        c.release = release;
        return c;
    }
};

struct CommDeleter {
    void operator()(kirsh_comm_t *comm) const noexcept { (void)kirsh_comm_destroy(comm); }
};

struct WorkDeleter {
    void operator()(kirsh_work_t *work) const noexcept { kirsh_work_destroy(work); }
};

struct PlanDeleter {
    void operator()(kirsh_plan_t *plan) const noexcept { kirsh_plan_destroy(plan); }
};

}  // namespace detail

// ------------------------------------------------------------------------------------------- work

/// What has been received: who sent it, under which tag, and how many elements.
struct Received {
    int source;
    std::uint32_t tag;
    std::size_t count;
};

/// For Communicator::recv: whichever rank, and whichever tag.
inline constexpr int any_source = KIRSH_ANY_SOURCE;
inline constexpr std::int64_t any_tag = KIRSH_ANY_TAG;

/// A started operation without its buffer: what every Work can be asked.
class WorkBase {
public:
    /// Whether this is an operation; false once it was waited for or moved from.
    [[nodiscard]] bool valid() const noexcept { return handle_ != nullptr; }

    /// Whether the operation has ended well; throws its failure. Does not block.
    [[nodiscard]] bool test() { return detail::check_over(kirsh_work_test(handle_.get())); }

    /// Waits this long, or for the end with kirsh::forever: whether the operation has ended well; throws
    /// its failure. False leaves it running and the buffer lent. Zero or less only looks.
    [[nodiscard]] bool wait_for(std::chrono::nanoseconds timeout) {
        if (timeout <= std::chrono::nanoseconds::zero()) {
            return test();
        }
        return detail::check_over(kirsh_work_wait(handle_.get(), timeout.count()));
    }

    /// What a started receive has received: once it has ended well, and before its buffer is taken back.
    [[nodiscard]] Received received() const {
        kirsh_received_t received{};
        detail::check(kirsh_work_received(handle_.get(), &received));
        return {received.source, received.tag, received.count};
    }

    /// The handle for the C interface; it stays this object's.
    [[nodiscard]] kirsh_work_t *get() const noexcept { return handle_.get(); }

protected:
    WorkBase() = default;
    explicit WorkBase(kirsh_work_t *handle) noexcept : handle_(handle) {}

    /// Waits for the end and lets the handle go where it was a good one.
    void finish() {
        (void)detail::check_over(kirsh_work_wait(handle_.get(), KIRSH_FOREVER));
        handle_.reset();
    }

    std::unique_ptr<kirsh_work_t, detail::WorkDeleter> handle_;
};

/// A started operation and its buffer: a std::span, which someone else keeps alive, or a std::vector
/// that was moved in. Not to be used from several threads at once.
template <class B = void>
class [[nodiscard]] Work : public WorkBase {
public:
    Work() = default;
    Work(Work &&other) noexcept : WorkBase(std::move(other)), buffer_(std::move(other.buffer_)) {}
    /// BLOCKS until the operation that this held before is over.
    Work &operator=(Work &&other) noexcept {
        if (this != &other) {
            handle_.reset();  // first: until then the old buffer is lent and must stay
            buffer_ = std::move(other.buffer_);
            handle_ = std::move(other.handle_);
        }
        return *this;
    }
    /// BLOCKS until the operation is over.
    ~Work() { handle_.reset(); }

    /// Blocks until the operation is over and gives the buffer back; throws its failure, and then the
    /// buffer can still be had from release().
    B wait() {
        finish();
        return std::move(buffer_);
    }

    /// Blocks until the operation is over, well or not, and gives the buffer back without throwing.
    B release() noexcept {
        handle_.reset();
        return std::move(buffer_);
    }

private:
    friend class Communicator;
    explicit Work(B buffer) noexcept : buffer_(std::move(buffer)) {}

    B buffer_{};
};

/// A started operation that keeps no buffer: a barrier, a run of a plan, an all-reduce of many arrays. What
/// these work on must outlive it.
template <>
class [[nodiscard]] Work<void> : public WorkBase {
public:
    Work() = default;

    /// Blocks until the operation is over; throws its failure.
    void wait() { finish(); }

private:
    friend class Communicator;
    friend class Plan;
    explicit Work(kirsh_work_t *handle) noexcept : WorkBase(handle) {}
};

namespace detail {

template <class R>
std::vector<kirsh_work_t *> handles(R &&works) {
    std::vector<kirsh_work_t *> handles;
    for (auto &&work : works) {
        if constexpr (std::is_pointer_v<std::remove_cvref_t<decltype(work)>>) {
            handles.push_back(work->get());
        } else {
            handles.push_back(work.get());
        }
    }
    return handles;
}

inline bool wait_all(std::vector<kirsh_work_t *> works, std::chrono::nanoseconds timeout) {
    // The C interface takes 0 for the default.
    const auto limit = std::max(timeout, std::chrono::nanoseconds{1});
    return check_over(kirsh_work_wait_all(works.data(), works.size(), limit.count()));
}

inline std::optional<std::size_t> wait_any(std::vector<kirsh_work_t *> works,
                                           std::chrono::nanoseconds timeout) {
    const auto limit = std::max(timeout, std::chrono::nanoseconds{1});
    std::size_t index = works.size();
    const kirsh_status_t status =
        kirsh_work_wait_any(works.data(), works.size(), limit.count(), &index);
    if (index < works.size()) {
        return index;
    }
    (void)check_over(status);
    return std::nullopt;
}

}  // namespace detail

/// Waits for all of these, a range of Works: whether they have ended well; throws the first failure, while
/// the others may still run. False once the time has passed. Empty Works are passed over. What has ended
/// can still be asked, and gives its buffer back, by wait().
template <std::ranges::input_range R>
    requires std::derived_from<std::remove_cvref_t<std::ranges::range_reference_t<R>>, WorkBase>
[[nodiscard]] bool wait_all(R &&works, std::chrono::nanoseconds timeout = forever) {
    return detail::wait_all(detail::handles(works), timeout);
}

/// The same for Works of several kinds: `wait_all({&reduced, &gathered})`.
[[nodiscard]] inline bool wait_all(std::initializer_list<const WorkBase *> works,
                                   std::chrono::nanoseconds timeout = forever) {
    return detail::wait_all(detail::handles(works), timeout);
}

/// Waits for any of these, a range of Works, to be over: the index of one that is, well or not, which its
/// wait() tells. Nothing once the time has passed, or where all are empty.
template <std::ranges::input_range R>
    requires std::derived_from<std::remove_cvref_t<std::ranges::range_reference_t<R>>, WorkBase>
[[nodiscard]] std::optional<std::size_t> wait_any(R &&works,
                                                  std::chrono::nanoseconds timeout = forever) {
    return detail::wait_any(detail::handles(works), timeout);
}

/// The same for Works of several kinds: `wait_any({&reduced, &gathered})`.
[[nodiscard]] inline std::optional<std::size_t> wait_any(
    std::initializer_list<const WorkBase *> works, std::chrono::nanoseconds timeout = forever) {
    return detail::wait_any(detail::handles(works), timeout);
}

// ------------------------------------------------------------------------------------------- plan

/// A collective call that was prepared, with its buffers, to be made many times. The buffers must outlive
/// it; they are lent during each run.
class [[nodiscard]] Plan {
public:
    Plan() = default;

    /// Whether this is a plan; false once it was moved from.
    [[nodiscard]] bool valid() const noexcept { return handle_ != nullptr; }

    /// Makes the call. Collective. Blocks.
    void run() { detail::check(kirsh_plan_run(handle_.get(), nullptr)); }

    /// Starts the call. Collective. The buffers are lent until the Work is over, which may outlive the plan.
    Work<> start() {
        kirsh_work_t *work = nullptr;
        detail::check(kirsh_plan_run(handle_.get(), &work));
        return Work<>(work);
    }

private:
    friend class Communicator;
    explicit Plan(kirsh_plan_t *handle) noexcept : handle_(handle) {}

    std::unique_ptr<kirsh_plan_t, detail::PlanDeleter> handle_;
};

// ----------------------------------------------------------------------------------- communicator

/// How an array is made up of a part for each rank, for the collectives in -v. Only read during the call.
struct Parts {
    /// How many elements each rank's part has.
    std::span<const std::size_t> counts;
    /// The first element of each rank's part; empty where they lie one behind the other. Parts must not
    /// overlap, and may have gaps between them.
    std::span<const std::size_t> displacements = {};
};

/// A span, which someone else keeps alive.
template <class R>
concept Span = Buffer<R> && requires(R data) { std::span(data); }
    && std::same_as<std::remove_cvref_t<R>, decltype(std::span(std::declval<R &>()))>;

/// A span whose elements can be written.
template <class R>
concept MutableSpan = Span<R> && MutableBuffer<R>;

/// Two spans of one type of elements, the second one to write to.
template <class In, class Out>
concept SameSpans = Span<In> && Span<Out> && SameElements<In, Out>;

/// A group of ranks that call collectives together. Moves, does not copy; the destructor leaves, which
/// takes 1 s at most.
class Communicator {
public:
    /// Collective: every rank calls it, and it blocks until all have come.
    [[nodiscard]] static Communicator create(const Config &config = {}) {
        kirsh_config_t c = KIRSH_CONFIG_INIT;
        c.rank = config.rank.value_or(-1);
        c.world_size = config.world_size.value_or(-1);
        c.rendezvous = config.rendezvous.empty() ? nullptr : config.rendezvous.c_str();
        c.job_id = config.job_id.empty() ? nullptr : config.job_id.c_str();
        c.join_timeout_ns = config.join_timeout.count();
        c.timeout_ns = config.timeout.count();
        c.wire = static_cast<kirsh_wire_t>(config.wire);
        kirsh_store_t store = KIRSH_STORE_INIT;
        if (config.store) {
            store = detail::StoreCallbacks::over(config.store);
            c.store = &store;
        }
        kirsh_comm_t *comm = nullptr;
        detail::check(kirsh_comm_create(&c, &comm));
        return Communicator(comm);
    }

    /// A communicator of the ranks that give the same color, in the order of key and then of rank here;
    /// nothing for a rank that gives none. Collective over this one, and blocks until all have called;
    /// the new one is independent of it, and may outlive it.
    [[nodiscard]] std::optional<Communicator> split(std::optional<std::uint32_t> color, int key = 0,
                                                    const Options &options = {}) {
        return group_of([&](const kirsh_options_t *c, kirsh_comm_t **comm) {
            const std::int64_t number = color ? std::int64_t{*color} : KIRSH_NO_COLOR;
            return kirsh_comm_split(handle_.get(), number, key, c, comm);
        }, options);
    }

    /// A communicator of the same ranks. In each turn the library's thread serves those of higher
    /// priority first; see kirsh_comm_dup.
    [[nodiscard]] Communicator dup(int priority = 0, const Options &options = {}) {
        return *group_of([&](const kirsh_options_t *c, kirsh_comm_t **comm) {
            return kirsh_comm_dup(handle_.get(), priority, c, comm);
        }, options);
    }

    /// A communicator of these ranks, in this order; nothing for the others, who call with the same list.
    [[nodiscard]] std::optional<Communicator> subgroup(std::span<const int> ranks,
                                                       const Options &options = {}) {
        return group_of([&](const kirsh_options_t *c, kirsh_comm_t **comm) {
            return kirsh_comm_subgroup(handle_.get(), ranks.data(), ranks.size(), c, comm);
        }, options);
    }

    [[nodiscard]] int rank() const { return number(kirsh_comm_rank(handle_.get())); }
    [[nodiscard]] int size() const { return number(kirsh_comm_size(handle_.get())); }
    /// This process's rank among those on its host.
    [[nodiscard]] int local_rank() const { return number(kirsh_comm_local_rank(handle_.get())); }
    /// How many ranks are on this process's host.
    [[nodiscard]] int local_size() const { return number(kirsh_comm_local_size(handle_.get())); }

    // What blocks. Buffers are anything contiguous; in place is where the C function says it is.

    /// Combines the buffers of all ranks, element by element, in place.
    template <MutableBuffer R>
    void allreduce(R &&data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_allreduce(in(data), out(data), op, options, now);
    }

    /// The same out of one buffer into another of the same size.
    template <class In, class Out>
        requires SameElements<In, Out>
    void allreduce(In &&send, Out &&recv, ReduceOp op = ReduceOp::sum,
                   const Options &options = {}) {
        ask_allreduce(in(send), out(recv), op, options, now);
    }

    /// Combines the buffers of all ranks into the root's, in place; the others stay as they are.
    template <MutableBuffer R>
    void reduce(R &&data, ReduceOp op, int root, const Options &options = {}) {
        ask_reduce(in(data), out(data), op, root, options, now);
    }

    /// The same out of one buffer into another of the same size, which only the root needs.
    template <class In, class Out>
        requires SameElements<In, Out>
    void reduce(In &&send, Out &&recv, ReduceOp op, int root, const Options &options = {}) {
        ask_reduce(in(send), out(recv), op, root, options, now);
    }

    /// Gives rank r what the buffers of ranks 0 to r combine to, in place.
    template <MutableBuffer R>
    void scan(R &&data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_scan(in(data), out(data), op, options, now);
    }

    /// The same out of one buffer into another of the same size.
    template <class In, class Out>
        requires SameElements<In, Out>
    void scan(In &&send, Out &&recv, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_scan(in(send), out(recv), op, options, now);
    }

    /// Gives rank r what the buffers of the ranks below r combine to, in place; that of rank 0 stays as
    /// it is.
    template <MutableBuffer R>
    void exscan(R &&data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_exscan(in(data), out(data), op, options, now);
    }

    /// The same out of one buffer into another of the same size.
    template <class In, class Out>
        requires SameElements<In, Out>
    void exscan(In &&send, Out &&recv, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_exscan(in(send), out(recv), op, options, now);
    }

    /// Combines the buffers of all ranks, of which rank r gets part r. `send` has the world size times
    /// as many elements as `recv`.
    template <class In, class Out>
        requires SameElements<In, Out>
    void reduce_scatter(In &&send, Out &&recv, ReduceOp op = ReduceOp::sum,
                        const Options &options = {}) {
        ask_reduce_scatter(in(send), out(recv), op, options, now);
    }

    /// Gives every rank the buffers of all, one behind the other. `recv` has the world size times as
    /// many elements as `send`.
    template <class In, class Out>
        requires SameElements<In, Out>
    void allgather(In &&send, Out &&recv, const Options &options = {}) {
        ask_allgather(in(send), out(recv), options, now);
    }

    /// Gives the root the buffers of all ranks, one behind the other. The root's `recv` has the world
    /// size times as many elements as `send`; that of the others is not looked at.
    template <class In, class Out>
        requires SameElements<In, Out>
    void gather(In &&send, Out &&recv, int root, const Options &options = {}) {
        ask_gather(in(send), out(recv), root, options, now);
    }

    /// Gives rank r part r of the root's `send`, which has the world size times as many elements as
    /// `recv`; that of the others is not looked at.
    template <class In, class Out>
        requires SameElements<In, Out>
    void scatter(In &&send, Out &&recv, int root, const Options &options = {}) {
        ask_scatter(in(send), out(recv), root, options, now);
    }

    /// Gives rank r part r of every rank's buffer, one behind the other. Both have the world size times
    /// as many elements as each pair of ranks exchanges.
    template <class In, class Out>
        requires SameElements<In, Out>
    void alltoall(In &&send, Out &&recv, const Options &options = {}) {
        ask_alltoall(in(send), out(recv), options, now);
    }

    /// allgather() with counts[r] elements from rank r, which all ranks know alike.
    template <class In, class Out>
        requires SameElements<In, Out>
    void allgatherv(In &&send, Out &&recv, const Parts &parts, const Options &options = {}) {
        ask_allgatherv(in(send), out(recv), parts, options, now);
    }

    /// reduce_scatter() with counts[r] elements for rank r, which all ranks know alike.
    template <class In, class Out>
        requires SameElements<In, Out>
    void reduce_scatterv(In &&send, Out &&recv, const Parts &parts, ReduceOp op = ReduceOp::sum,
                         const Options &options = {}) {
        ask_reduce_scatterv(in(send), out(recv), parts, op, options, now);
    }

    /// gather() with counts[r] elements from rank r, which only the root has to know.
    template <class In, class Out>
        requires SameElements<In, Out>
    void gatherv(In &&send, Out &&recv, const Parts &parts, int root, const Options &options = {}) {
        ask_gatherv(in(send), out(recv), parts, root, options, now);
    }

    /// scatter() with counts[r] elements for rank r, which only the root has to know.
    template <class In, class Out>
        requires SameElements<In, Out>
    void scatterv(In &&send, Out &&recv, const Parts &parts, int root,
                  const Options &options = {}) {
        ask_scatterv(in(send), out(recv), parts, root, options, now);
    }

    /// alltoall() with a count for each rank to send to, and for each to receive from.
    template <class In, class Out>
        requires SameElements<In, Out>
    void alltoallv(In &&send, Out &&recv, const Parts &sent, const Parts &received,
                   const Options &options = {}) {
        ask_alltoallv(in(send), out(recv), sent, received, options, now);
    }

    /// Combines many buffers in one operation, each in place, as if they lay one behind the other: a range
    /// of vectors, or of spans.
    template <std::ranges::forward_range R>
        requires MutableBuffer<std::ranges::range_reference_t<R>>
    void allreduce_many(R &&buffers, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        ask_allreduce_many(buffers, op, options, now);
    }

    /// Gives every rank the root's buffer.
    template <MutableBuffer R>
    void broadcast(R &&data, int root, const Options &options = {}) {
        ask_broadcast(out(data), root, options, now);
    }

    /// Returns once every rank has come to it.
    void barrier(const Options &options = {}) {
        ask(kirsh_barrier, kirsh_plan_barrier, options, now);
    }

    // Messages between two ranks, beside the collectives and not in their order.

    /// Sends to one rank, which may be this one; returns once `data` may be changed again. See kirsh_send.
    template <Buffer R>
    void send(R &&data, int to, std::uint32_t tag = 0, const Options &options = {}) {
        ask_send(in(data), to, tag, options, now);
    }

    /// Receives the first message that fits, of at most as many elements as `data` has room for; one that
    /// is longer, or of another type, is dropped, and MismatchError says so.
    template <MutableBuffer R>
    Received recv(R &&data, int source = any_source, std::int64_t tag = any_tag,
                  const Options &options = {}) {
        kirsh_received_t received{};
        ask_recv(out(data), source, tag, &received, options, now);
        return {received.source, received.tag, received.count};
    }

    /// Sends one message and receives another at once, both under one tag: ranks that exchange so never
    /// wait for one another for ever.
    template <Buffer S, MutableBuffer R>
    Received sendrecv(S &&send, int to, R &&recv, int source, std::uint32_t tag = 0,
                      const Options &options = {}) {
        const kirsh_options_t c = detail::to_c(options);
        const auto from = in(send);
        const auto into = out(recv);
        kirsh_received_t received{};
        detail::check(kirsh_sendrecv(handle_.get(), from.data(), from.size(), dtype<element_t<S>>, to,
                                     into.data(), into.size(), dtype<element_t<R>>, source, tag,
                                     &received, &c));
        return {received.source, received.tag, received.count};
    }

    /// Starts send().
    template <Lendable B>
    Work<lent_t<B>> start_send(B &&data, int to, std::uint32_t tag = 0, const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_send(in(b), to, tag, options, work);
        });
    }

    /// Starts recv(); Work::received() says what came.
    template <Lendable B>
    Work<lent_t<B>> start_recv(B &&data, int source = any_source, std::int64_t tag = any_tag,
                               const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_recv(out(b), source, tag, nullptr, options, work);
        });
    }

    // What starts. In place: a span, whose elements are lent until the Work is over and must outlive it, or
    // a vector that the Work owns and gives back. With two buffers: spans, of which the Work gives `recv`
    // back.

    /// Starts allreduce() in place.
    template <Lendable B>
    Work<lent_t<B>> start_allreduce(B &&data, ReduceOp op = ReduceOp::sum,
                                    const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_allreduce(in(b), out(b), op, options, work);
        });
    }

    /// Starts allreduce().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_allreduce(In send, Out recv, ReduceOp op = ReduceOp::sum,
                                      const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_allreduce(in(send), out(b), op, options, work);
        });
    }

    /// Starts reduce() in place.
    template <Lendable B>
    Work<lent_t<B>> start_reduce(B &&data, ReduceOp op, int root, const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_reduce(in(b), out(b), op, root, options, work);
        });
    }

    /// Starts reduce().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_reduce(In send, Out recv, ReduceOp op, int root,
                                   const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_reduce(in(send), out(b), op, root, options, work);
        });
    }

    /// Starts scan() in place.
    template <Lendable B>
    Work<lent_t<B>> start_scan(B &&data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_scan(in(b), out(b), op, options, work);
        });
    }

    /// Starts scan().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_scan(In send, Out recv, ReduceOp op = ReduceOp::sum,
                                 const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_scan(in(send), out(b), op, options, work);
        });
    }

    /// Starts exscan() in place.
    template <Lendable B>
    Work<lent_t<B>> start_exscan(B &&data, ReduceOp op = ReduceOp::sum,
                                 const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_exscan(in(b), out(b), op, options, work);
        });
    }

    /// Starts exscan().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_exscan(In send, Out recv, ReduceOp op = ReduceOp::sum,
                                   const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_exscan(in(send), out(b), op, options, work);
        });
    }

    /// Starts reduce_scatter().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_reduce_scatter(In send, Out recv, ReduceOp op = ReduceOp::sum,
                                           const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_reduce_scatter(in(send), out(b), op, options, work);
        });
    }

    /// Starts allgather().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_allgather(In send, Out recv, const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_allgather(in(send), out(b), options, work);
        });
    }

    /// Starts gather().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_gather(In send, Out recv, int root, const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_gather(in(send), out(b), root, options, work);
        });
    }

    /// Starts scatter().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_scatter(In send, Out recv, int root, const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_scatter(in(send), out(b), root, options, work);
        });
    }

    /// Starts alltoall().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_alltoall(In send, Out recv, const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_alltoall(in(send), out(b), options, work);
        });
    }

    /// Starts allgatherv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_allgatherv(In send, Out recv, const Parts &parts,
                                       const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_allgatherv(in(send), out(b), parts, options, work);
        });
    }

    /// Starts reduce_scatterv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_reduce_scatterv(In send, Out recv, const Parts &parts,
                                            ReduceOp op = ReduceOp::sum,
                                            const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_reduce_scatterv(in(send), out(b), parts, op, options, work);
        });
    }

    /// Starts gatherv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_gatherv(In send, Out recv, const Parts &parts, int root,
                                    const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_gatherv(in(send), out(b), parts, root, options, work);
        });
    }

    /// Starts scatterv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_scatterv(In send, Out recv, const Parts &parts, int root,
                                     const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_scatterv(in(send), out(b), parts, root, options, work);
        });
    }

    /// Starts alltoallv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Work<lent_t<Out>> start_alltoallv(In send, Out recv, const Parts &sent, const Parts &received,
                                      const Options &options = {}) {
        return start(lent_t<Out>(recv), [&](auto &b, kirsh_work_t **work) {
            ask_alltoallv(in(send), out(b), sent, received, options, work);
        });
    }

    /// Starts allreduce_many(): the range is only read here, what it names is lent.
    template <std::ranges::forward_range R>
        requires MutableBuffer<std::ranges::range_reference_t<R>>
    Work<> start_allreduce_many(R &&buffers, ReduceOp op = ReduceOp::sum,
                                const Options &options = {}) {
        kirsh_work_t *work = nullptr;
        ask_allreduce_many(buffers, op, options, &work);
        return Work<>(work);
    }

    /// Starts broadcast().
    template <Lendable B>
    Work<lent_t<B>> start_broadcast(B &&data, int root, const Options &options = {}) {
        return start(lent_t<B>(std::forward<B>(data)), [&](auto &b, kirsh_work_t **work) {
            ask_broadcast(out(b), root, options, work);
        });
    }

    /// Starts a barrier.
    Work<> start_barrier(const Options &options = {}) {
        kirsh_work_t *work = nullptr;
        ask(kirsh_barrier, kirsh_plan_barrier, options, &work);
        return Work<>(work);
    }

    // What prepares, on spans whose elements must outlive the plan.

    /// Prepares allreduce() in place.
    template <MutableSpan R>
    Plan plan_allreduce(R data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_allreduce(in(data), out(data), op, options, plan);
        });
    }

    /// Prepares allreduce().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_allreduce(In send, Out recv, ReduceOp op = ReduceOp::sum,
                        const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_allreduce(in(send), out(recv), op, options, plan);
        });
    }

    /// Prepares reduce() in place.
    template <MutableSpan R>
    Plan plan_reduce(R data, ReduceOp op, int root, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_reduce(in(data), out(data), op, root, options, plan);
        });
    }

    /// Prepares reduce().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_reduce(In send, Out recv, ReduceOp op, int root, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_reduce(in(send), out(recv), op, root, options, plan);
        });
    }

    /// Prepares scan() in place.
    template <MutableSpan R>
    Plan plan_scan(R data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_scan(in(data), out(data), op, options, plan);
        });
    }

    /// Prepares scan().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_scan(In send, Out recv, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_scan(in(send), out(recv), op, options, plan);
        });
    }

    /// Prepares exscan() in place.
    template <MutableSpan R>
    Plan plan_exscan(R data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_exscan(in(data), out(data), op, options, plan);
        });
    }

    /// Prepares exscan().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_exscan(In send, Out recv, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_exscan(in(send), out(recv), op, options, plan);
        });
    }

    /// Prepares reduce_scatter().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_reduce_scatter(In send, Out recv, ReduceOp op = ReduceOp::sum,
                             const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_reduce_scatter(in(send), out(recv), op, options, plan);
        });
    }

    /// Prepares allgather().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_allgather(In send, Out recv, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_allgather(in(send), out(recv), options, plan);
        });
    }

    /// Prepares gather().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_gather(In send, Out recv, int root, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_gather(in(send), out(recv), root, options, plan);
        });
    }

    /// Prepares scatter().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_scatter(In send, Out recv, int root, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_scatter(in(send), out(recv), root, options, plan);
        });
    }

    /// Prepares alltoall().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_alltoall(In send, Out recv, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_alltoall(in(send), out(recv), options, plan);
        });
    }

    /// Prepares allgatherv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_allgatherv(In send, Out recv, const Parts &parts, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_allgatherv(in(send), out(recv), parts, options, plan);
        });
    }

    /// Prepares reduce_scatterv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_reduce_scatterv(In send, Out recv, const Parts &parts, ReduceOp op = ReduceOp::sum,
                              const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_reduce_scatterv(in(send), out(recv), parts, op, options, plan);
        });
    }

    /// Prepares gatherv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_gatherv(In send, Out recv, const Parts &parts, int root,
                      const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_gatherv(in(send), out(recv), parts, root, options, plan);
        });
    }

    /// Prepares scatterv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_scatterv(In send, Out recv, const Parts &parts, int root,
                       const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_scatterv(in(send), out(recv), parts, root, options, plan);
        });
    }

    /// Prepares alltoallv().
    template <class In, class Out>
        requires SameSpans<In, Out>
    Plan plan_alltoallv(In send, Out recv, const Parts &sent, const Parts &received,
                        const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask_alltoallv(in(send), out(recv), sent, received, options, plan);
        });
    }

    /// Prepares allreduce_many().
    template <std::ranges::forward_range R>
        requires MutableBuffer<std::ranges::range_reference_t<R>>
    Plan plan_allreduce_many(R &&buffers, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) { ask_allreduce_many(buffers, op, options, plan); });
    }

    /// Prepares broadcast().
    template <MutableSpan R>
    Plan plan_broadcast(R data, int root, const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) { ask_broadcast(out(data), root, options, plan); });
    }

    /// Prepares a barrier.
    Plan plan_barrier(const Options &options = {}) {
        return prepare([&](kirsh_plan_t **plan) {
            ask(kirsh_barrier, kirsh_plan_barrier, options, plan);
        });
    }

    /// Ends the communicator on every rank, from any thread, also while others wait.
    void abort(const std::string &reason) {
        detail::check(kirsh_comm_abort(handle_.get(), reason.c_str()));
    }

    /// What the communicator has moved so far.
    [[nodiscard]] kirsh_stats_t stats() const {
        kirsh_stats_t stats = KIRSH_STATS_INIT;
        detail::check(kirsh_comm_stats(handle_.get(), &stats));
        return stats;
    }

    /// What it has had to do with each of its ranks, this one among them: entry i is about rank i.
    [[nodiscard]] std::vector<kirsh_peer_stats_t> stats_by_peer() const {
        const kirsh_peer_stats_t unset = KIRSH_PEER_STATS_INIT;
        std::vector<kirsh_peer_stats_t> peers(static_cast<std::size_t>(size()), unset);
        detail::check(kirsh_comm_stats_by_peer(handle_.get(), peers.data(), peers.size()));
        return peers;
    }

    /// The handle for the C interface; it stays this object's.
    [[nodiscard]] kirsh_comm_t *get() const noexcept { return handle_.get(); }

private:
    explicit Communicator(kirsh_comm_t *handle) noexcept : handle_(handle) {}

    template <typename F>
    static std::optional<Communicator> group_of(F &&call, const Options &options) {
        const kirsh_options_t c = detail::to_c(options);
        kirsh_comm_t *comm = nullptr;
        detail::check(call(&c, &comm));
        return comm ? std::optional<Communicator>(Communicator(comm)) : std::nullopt;
    }

    static int number(std::int32_t result) {
        if (result < 0) {
            detail::throw_last(KIRSH_INVALID_ARGUMENT);
        }
        return result;
    }

    /// Where a call goes that is to run at once.
    static constexpr kirsh_work_t **now = nullptr;

    template <class R>
    static std::span<const element_t<R>> in(R &&buffer) {
        return std::span<const element_t<R>>(buffer);
    }

    template <class R>
    static std::span<element_t<R>> out(R &&buffer) {
        return std::span<element_t<R>>(buffer);
    }

    /// Runs or starts a call, or prepares it, by what is to come out.
    template <class Out, class Run, class Make, class... Arguments>
    void ask(Run run, Make make, const Options &options, Out **result, Arguments... arguments) {
        const kirsh_options_t c = detail::to_c(options);
        if constexpr (std::same_as<Out, kirsh_plan_t>) {
            detail::check(make(handle_.get(), arguments..., &c, result));
        } else {
            detail::check(run(handle_.get(), arguments..., &c, result));
        }
    }

    /// Refuses a call whose sizes do not fit: it takes its place in the order of calls, and the peers hear.
    void fits(const char *operation, const char *name, std::size_t given, std::size_t needed) {
        if (given != needed) {
            refuse(operation, std::string(name) + " has " + std::to_string(given)
                                  + " elements and needs " + std::to_string(needed));
        }
    }

    void refuse(const char *operation, const std::string &reason) {
        detail::check(kirsh_comm_refuse(handle_.get(), operation, reason.c_str()));
    }

    /// A part's size that does not divide is too small here, and found by fits().
    [[nodiscard]] std::size_t part(std::size_t all) const {
        return all / static_cast<std::size_t>(size());
    }

    [[nodiscard]] std::size_t all(std::size_t part) const {
        return part * static_cast<std::size_t>(size());
    }

    /// Holds the parts of a buffer against its size.
    void holds(const char *operation, const char *name, std::size_t given, const Parts &parts) {
        const auto ranks = static_cast<std::size_t>(size());
        fits(operation, "counts", parts.counts.size(), ranks);
        if (!parts.displacements.empty()) {
            fits(operation, "displacements", parts.displacements.size(), ranks);
        }
        std::size_t next = 0;
        for (std::size_t rank = 0; rank < ranks; rank++) {
            const std::size_t count = parts.counts[rank];
            const std::size_t first = parts.displacements.empty() ? next : parts.displacements[rank];
            if (count > given || first > given - count) {
                refuse(operation, "the part of rank " + std::to_string(rank) + " does not lie in "
                                      + name + ", which has " + std::to_string(given) + " elements");
            }
            next = first + count;
        }
    }

    /// This rank's count, of counts that holds() has seen.
    [[nodiscard]] std::size_t own(const Parts &parts) const {
        return parts.counts[static_cast<std::size_t>(rank())];
    }

    static const std::size_t *displacements(const Parts &parts) {
        return parts.displacements.empty() ? nullptr : parts.displacements.data();
    }

    // Each of these holds the sizes against each other and calls C, for a result, a Work or a Plan.

    template <class T, class Out>
    void ask_allreduce(std::span<const T> send, std::span<T> recv, ReduceOp op, const Options &options,
                       Out **result) {
        fits("allreduce", "recv", recv.size(), send.size());
        ask(kirsh_allreduce, kirsh_plan_allreduce, options, result, send.data(), recv.data(),
            send.size(), dtype<T>, static_cast<kirsh_op_t>(op));
    }

    template <class R, class Out>
    void ask_allreduce_many(R &&buffers, ReduceOp op, const Options &options, Out **result) {
        std::vector<kirsh_array_t> arrays;
        for (auto &&buffer : buffers) {
            const auto view = out(buffer);
            arrays.push_back({view.data(), view.size()});
        }
        ask(kirsh_allreduce_many, kirsh_plan_allreduce_many, options, result, arrays.data(),
            arrays.size(), dtype<element_t<std::ranges::range_reference_t<R>>>,
            static_cast<kirsh_op_t>(op));
    }

    template <class T, class Out>
    void ask_reduce(std::span<const T> send, std::span<T> recv, ReduceOp op, int root,
                    const Options &options, Out **result) {
        if (rank() == root) {
            fits("reduce", "recv", recv.size(), send.size());
        }
        ask(kirsh_reduce, kirsh_plan_reduce, options, result, send.data(), recv.data(), send.size(),
            dtype<T>, static_cast<kirsh_op_t>(op), root);
    }

    template <class T, class Out>
    void ask_scan(std::span<const T> send, std::span<T> recv, ReduceOp op, const Options &options,
                  Out **result) {
        fits("scan", "recv", recv.size(), send.size());
        ask(kirsh_scan, kirsh_plan_scan, options, result, send.data(), recv.data(), send.size(),
            dtype<T>, static_cast<kirsh_op_t>(op));
    }

    template <class T, class Out>
    void ask_exscan(std::span<const T> send, std::span<T> recv, ReduceOp op, const Options &options,
                    Out **result) {
        fits("exscan", "recv", recv.size(), send.size());
        ask(kirsh_exscan, kirsh_plan_exscan, options, result, send.data(), recv.data(), send.size(),
            dtype<T>, static_cast<kirsh_op_t>(op));
    }

    template <class T, class Out>
    void ask_reduce_scatter(std::span<const T> send, std::span<T> recv, ReduceOp op,
                            const Options &options, Out **result) {
        fits("reduce_scatter", "send", send.size(), all(recv.size()));
        ask(kirsh_reduce_scatter, kirsh_plan_reduce_scatter, options, result, send.data(), recv.data(),
            recv.size(), dtype<T>, static_cast<kirsh_op_t>(op));
    }

    template <class T>
    void ask_send(std::span<const T> data, int to, std::uint32_t tag, const Options &options,
                  kirsh_work_t **work) {
        const kirsh_options_t c = detail::to_c(options);
        detail::check(
            kirsh_send(handle_.get(), data.data(), data.size(), dtype<T>, to, tag, &c, work));
    }

    template <class T>
    void ask_recv(std::span<T> data, int source, std::int64_t tag, kirsh_received_t *received,
                  const Options &options, kirsh_work_t **work) {
        const kirsh_options_t c = detail::to_c(options);
        detail::check(kirsh_recv(handle_.get(), data.data(), data.size(), dtype<T>, source, tag,
                                 received, &c, work));
    }

    template <class T, class Out>
    void ask_broadcast(std::span<T> data, int root, const Options &options, Out **result) {
        ask(kirsh_broadcast, kirsh_plan_broadcast, options, result, data.data(), data.size(), dtype<T>,
            root);
    }

    template <class T, class Out>
    void ask_allgather(std::span<const T> send, std::span<T> recv, const Options &options,
                       Out **result) {
        fits("allgather", "recv", recv.size(), all(send.size()));
        ask(kirsh_allgather, kirsh_plan_allgather, options, result, send.data(), recv.data(),
            send.size(), dtype<T>);
    }

    template <class T, class Out>
    void ask_gather(std::span<const T> send, std::span<T> recv, int root, const Options &options,
                    Out **result) {
        if (rank() == root) {
            fits("gather", "recv", recv.size(), all(send.size()));
        }
        ask(kirsh_gather, kirsh_plan_gather, options, result, send.data(), recv.data(), send.size(),
            dtype<T>, root);
    }

    template <class T, class Out>
    void ask_scatter(std::span<const T> send, std::span<T> recv, int root, const Options &options,
                     Out **result) {
        if (rank() == root) {
            fits("scatter", "send", send.size(), all(recv.size()));
        }
        ask(kirsh_scatter, kirsh_plan_scatter, options, result, send.data(), recv.data(), recv.size(),
            dtype<T>, root);
    }

    template <class T, class Out>
    void ask_alltoall(std::span<const T> send, std::span<T> recv, const Options &options,
                      Out **result) {
        fits("alltoall", "send", send.size(), all(part(send.size())));
        fits("alltoall", "recv", recv.size(), send.size());
        ask(kirsh_alltoall, kirsh_plan_alltoall, options, result, send.data(), recv.data(),
            part(send.size()), dtype<T>);
    }

    template <class T, class Out>
    void ask_allgatherv(std::span<const T> send, std::span<T> recv, const Parts &parts,
                        const Options &options, Out **result) {
        holds("allgatherv", "recv", recv.size(), parts);
        fits("allgatherv", "send", send.size(), own(parts));
        ask(kirsh_allgatherv, kirsh_plan_allgatherv, options, result, send.data(), recv.data(),
            parts.counts.data(), displacements(parts), dtype<T>);
    }

    template <class T, class Out>
    void ask_reduce_scatterv(std::span<const T> send, std::span<T> recv, const Parts &parts,
                             ReduceOp op, const Options &options, Out **result) {
        holds("reduce_scatterv", "send", send.size(), parts);
        fits("reduce_scatterv", "recv", recv.size(), own(parts));
        ask(kirsh_reduce_scatterv, kirsh_plan_reduce_scatterv, options, result, send.data(),
            recv.data(), parts.counts.data(), displacements(parts), dtype<T>,
            static_cast<kirsh_op_t>(op));
    }

    template <class T, class Out>
    void ask_gatherv(std::span<const T> send, std::span<T> recv, const Parts &parts, int root,
                     const Options &options, Out **result) {
        if (rank() == root) {
            holds("gatherv", "recv", recv.size(), parts);
        }
        ask(kirsh_gatherv, kirsh_plan_gatherv, options, result, send.data(), send.size(), recv.data(),
            parts.counts.data(), displacements(parts), dtype<T>, root);
    }

    template <class T, class Out>
    void ask_scatterv(std::span<const T> send, std::span<T> recv, const Parts &parts, int root,
                      const Options &options, Out **result) {
        if (rank() == root) {
            holds("scatterv", "send", send.size(), parts);
        }
        ask(kirsh_scatterv, kirsh_plan_scatterv, options, result, send.data(), parts.counts.data(),
            displacements(parts), recv.data(), recv.size(), dtype<T>, root);
    }

    template <class T, class Out>
    void ask_alltoallv(std::span<const T> send, std::span<T> recv, const Parts &sent,
                       const Parts &received, const Options &options, Out **result) {
        holds("alltoallv", "send", send.size(), sent);
        holds("alltoallv", "recv", recv.size(), received);
        ask(kirsh_alltoallv, kirsh_plan_alltoallv, options, result, send.data(), sent.counts.data(),
            displacements(sent), recv.data(), received.counts.data(), displacements(received),
            dtype<T>);
    }

    template <class Begin>
    Plan prepare(Begin &&begin) {
        kirsh_plan_t *plan = nullptr;
        begin(&plan);
        return Plan(plan);
    }

    /// Puts the buffer where it will stay before the operation borrows it: moving a Work moves a span or
    /// a vector, and neither moves its elements.
    template <class B, class Begin>
    Work<B> start(B buffer, Begin &&begin) {
        Work<B> work(std::move(buffer));
        kirsh_work_t *handle = nullptr;
        begin(work.buffer_, &handle);
        work.handle_.reset(handle);
        return work;
    }

    std::unique_ptr<kirsh_comm_t, detail::CommDeleter> handle_;
};

// -------------------------------------------------------------------------------------------- log

/// Sends the log of all communicators to a function, up to this level; an empty function silences it. It
/// is called from any thread, several at a time; what it throws is dropped. When this returns, the
/// previous function is not running and will not be called again.
inline void set_log(std::function<void(LogLevel, std::string_view)> function, LogLevel level) {
    using Function = std::function<void(LogLevel, std::string_view)>;
    // Never freed at exit, when the library's threads may still have something to say.
    static std::mutex *const mutex = new std::mutex;
    static Function *current = nullptr;

    const std::lock_guard lock(*mutex);
    auto next = function ? std::make_unique<Function>(std::move(function)) : nullptr;
    const kirsh_log_fn callback = [](void *user, kirsh_log_level_t at, const char *text) {
        try {
            (*static_cast<Function *>(user))(static_cast<LogLevel>(at), text);
        } catch (...) {
            // Logging is no reason to end a program, and nothing may be thrown through the library.
        }
    };
    detail::check(kirsh_set_log(next ? callback : nullptr, next.get(),
                                static_cast<kirsh_log_level_t>(level)));
    delete current;
    current = next.release();
}

}  // namespace kirsh

#endif  // KIRSH_HPP
