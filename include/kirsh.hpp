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
 *   the integers, float, double, std::byte, char (moved, not reduced), kirsh::float16 and
 *   kirsh::bfloat16.
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

#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
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
};

namespace detail {

inline kirsh_options_t to_c(const Options &options) {
    kirsh_options_t c = KIRSH_OPTIONS_INIT;
    c.timeout_ns = options.timeout.count();
    c.scale = options.scale;
    c.algorithm = static_cast<kirsh_algorithm_t>(options.algorithm);
    c.name = options.name;
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

}  // namespace detail

// ------------------------------------------------------------------------------------------- work

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

/// A started operation that has no buffer: a barrier.
template <>
class [[nodiscard]] Work<void> : public WorkBase {
public:
    Work() = default;

    /// Blocks until the operation is over; throws its failure.
    void wait() { finish(); }

private:
    friend class Communicator;
    explicit Work(kirsh_work_t *handle) noexcept : WorkBase(handle) {}
};

// ----------------------------------------------------------------------------------- communicator

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
        kirsh_store_t store = KIRSH_STORE_INIT;
        if (config.store) {
            store = detail::StoreCallbacks::over(config.store);
            c.store = &store;
        }
        kirsh_comm_t *comm = nullptr;
        detail::check(kirsh_comm_create(&c, &comm));
        return Communicator(comm);
    }

    [[nodiscard]] int rank() const { return number(kirsh_comm_rank(handle_.get())); }
    [[nodiscard]] int size() const { return number(kirsh_comm_size(handle_.get())); }
    /// This process's rank among those on its host.
    [[nodiscard]] int local_rank() const { return number(kirsh_comm_local_rank(handle_.get())); }
    /// How many ranks are on this process's host.
    [[nodiscard]] int local_size() const { return number(kirsh_comm_local_size(handle_.get())); }

    /// Combines the buffers of all ranks, element by element, in place. Blocks.
    template <MutableBuffer R>
    void allreduce(R &&data, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        const std::span view(data);
        reduce(view.data(), view.data(), view.size(), dtype<element_t<R>>, op, options, nullptr);
    }

    /// The same out of one buffer into another of the same size, which do not overlap. Blocks.
    template <Buffer In, MutableBuffer Out>
        requires std::same_as<element_t<In>, element_t<Out>>
    void allreduce(In &&send, Out &&recv, ReduceOp op = ReduceOp::sum, const Options &options = {}) {
        const std::span from(send);
        const std::span into(recv);
        if (from.size() != into.size()) {
            const std::string reason = "send has " + std::to_string(from.size())
                + " elements and recv has " + std::to_string(into.size());
            detail::check(kirsh_comm_refuse(handle_.get(), "allreduce", reason.c_str()));
        }
        reduce(from.data(), into.data(), into.size(), dtype<element_t<In>>, op, options, nullptr);
    }

    /// Gives every rank the root's buffer. Blocks.
    template <MutableBuffer R>
    void broadcast(R &&data, int root, const Options &options = {}) {
        const std::span view(data);
        spread(view.data(), view.size(), dtype<element_t<R>>, root, options, nullptr);
    }

    /// Returns once every rank has come to it.
    void barrier(const Options &options = {}) {
        const kirsh_options_t c = detail::to_c(options);
        detail::check(kirsh_barrier(handle_.get(), &c, nullptr));
    }

    /// Starts an all-reduce in place. The span's elements are lent until the Work is over and must
    /// outlive it.
    template <Element T>
        requires(!std::is_const_v<T>)
    Work<std::span<T>> start_allreduce(std::span<T> data, ReduceOp op = ReduceOp::sum,
                                       const Options &options = {}) {
        return start(data, [&](auto &b, kirsh_work_t **out) {
            reduce(b.data(), b.data(), b.size(), dtype<T>, op, options, out);
        });
    }

    /// Starts an all-reduce in place of a vector that the Work owns and gives back.
    template <Element T>
    Work<std::vector<T>> start_allreduce(std::vector<T> &&data, ReduceOp op = ReduceOp::sum,
                                         const Options &options = {}) {
        return start(std::move(data), [&](auto &b, kirsh_work_t **out) {
            reduce(b.data(), b.data(), b.size(), dtype<T>, op, options, out);
        });
    }

    /// Starts a broadcast. The span's elements are lent until the Work is over and must outlive it.
    template <Element T>
        requires(!std::is_const_v<T>)
    Work<std::span<T>> start_broadcast(std::span<T> data, int root, const Options &options = {}) {
        return start(data, [&](auto &b, kirsh_work_t **out) {
            spread(b.data(), b.size(), dtype<T>, root, options, out);
        });
    }

    /// Starts a broadcast of a vector that the Work owns and gives back.
    template <Element T>
    Work<std::vector<T>> start_broadcast(std::vector<T> &&data, int root,
                                         const Options &options = {}) {
        return start(std::move(data), [&](auto &b, kirsh_work_t **out) {
            spread(b.data(), b.size(), dtype<T>, root, options, out);
        });
    }

    /// Starts a barrier.
    Work<> start_barrier(const Options &options = {}) {
        const kirsh_options_t c = detail::to_c(options);
        kirsh_work_t *work = nullptr;
        detail::check(kirsh_barrier(handle_.get(), &c, &work));
        return Work<>(work);
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

    /// The handle for the C interface; it stays this object's.
    [[nodiscard]] kirsh_comm_t *get() const noexcept { return handle_.get(); }

private:
    explicit Communicator(kirsh_comm_t *handle) noexcept : handle_(handle) {}

    static int number(std::int32_t result) {
        if (result < 0) {
            detail::throw_last(KIRSH_INVALID_ARGUMENT);
        }
        return result;
    }

    void reduce(const void *send, void *recv, std::size_t count, kirsh_dtype_t type, ReduceOp op,
                const Options &options, kirsh_work_t **out) {
        const kirsh_options_t c = detail::to_c(options);
        detail::check(kirsh_allreduce(handle_.get(), send, recv, count, type,
                                      static_cast<kirsh_op_t>(op), &c, out));
    }

    void spread(void *data, std::size_t count, kirsh_dtype_t type, int root, const Options &options,
                kirsh_work_t **out) {
        const kirsh_options_t c = detail::to_c(options);
        detail::check(kirsh_broadcast(handle_.get(), data, count, type, root, &c, out));
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
