// Every element type, every kind of buffer, every collective of the C++ face. Any number of ranks.
#include <kirsh.hpp>

#include "check.h"

#include <array>

namespace {

// Sums 1 + rank and takes the greatest, as this type.
template <class T>
void sums(kirsh::Communicator &comm) {
    std::vector<T> x{static_cast<T>(comm.rank() + 1), static_cast<T>(2)};
    comm.allreduce(x);
    CHECK(x[0] == static_cast<T>(comm.size() * (comm.size() + 1) / 2));
    CHECK(x[1] == static_cast<T>(2 * comm.size()));
    std::array<T, 1> y{static_cast<T>(comm.rank())};
    comm.allreduce(y, kirsh::ReduceOp::max);
    CHECK(y[0] == static_cast<T>(comm.size() - 1));
}

}  // namespace

int main() {
    static_assert(!std::is_copy_constructible_v<kirsh::Communicator>);
    static_assert(std::is_nothrow_move_constructible_v<kirsh::Communicator>);
    static_assert(!kirsh::Buffer<std::vector<float>>, "an unnamed vector would not stay");
    static_assert(kirsh::MutableBuffer<std::vector<float> &> && kirsh::MutableBuffer<std::span<float>>);
    static_assert(!kirsh::MutableBuffer<const std::vector<float> &>);
    static_assert(!kirsh::Element<wchar_t> && !kirsh::Element<void *> && !kirsh::Element<long double>);
    static_assert(kirsh::dtype<long> == KIRSH_INT64 && kirsh::dtype<long long> == KIRSH_INT64);

    auto first = kirsh::Communicator::create();
    kirsh::Communicator comm = std::move(first);
    CHECK(first.get() == nullptr && comm.get() != nullptr);
    CHECK(comm.local_rank() == comm.rank() && comm.local_size() == comm.size());

    sums<std::int8_t>(comm);
    sums<std::uint8_t>(comm);
    sums<std::int16_t>(comm);
    sums<std::uint16_t>(comm);
    sums<std::int32_t>(comm);
    sums<std::uint32_t>(comm);
    sums<std::int64_t>(comm);
    sums<std::uint64_t>(comm);
    sums<long long>(comm);
    sums<float>(comm);
    sums<double>(comm);

    // 1.0 in both 16-bit formats; their maximum needs no arithmetic here.
    kirsh::float16 half[]{{comm.rank() == 0 ? std::uint16_t{0x3c00} : std::uint16_t{0}}};
    comm.allreduce(half, kirsh::ReduceOp::max);
    CHECK(half[0].bits == 0x3c00);
    kirsh::bfloat16 brain[]{{comm.rank() == 0 ? std::uint16_t{0x3f80} : std::uint16_t{0}}};
    comm.allreduce(brain, kirsh::ReduceOp::max);
    CHECK(brain[0].bits == 0x3f80);
    std::vector<std::complex<double>> turns{{0.0, 1.0}, {static_cast<double>(comm.rank()), -1.0}};
    comm.allreduce(std::span(turns).first(1), kirsh::ReduceOp::prod);
    comm.allreduce(std::span(turns).last(1));
    const std::complex<double> powers[4] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}};
    CHECK(turns[0] == powers[comm.size() % 4]);
    CHECK(turns[1] == std::complex<double>(comm.size() * (comm.size() - 1) / 2, -comm.size()));
    static_assert(kirsh::dtype<std::complex<float>> == KIRSH_COMPLEX64);
    static_assert(!kirsh::Element<std::complex<long double>>);
    kirsh::float8_e4m3fn eighth[]{{std::uint8_t(comm.rank() == 0 ? 0x7e : 0)}};
    comm.broadcast(eighth, 0);
    CHECK(eighth[0].bits == 0x7e);
    static_assert(kirsh::dtype<kirsh::float8_e5m2> == KIRSH_FLOAT8_E5M2);
    bool flags[2] = {comm.rank() == 0, false};
    comm.allreduce(flags, kirsh::ReduceOp::lor);
    CHECK(flags[0] && !flags[1]);

    // Out of place, out of a const buffer into part of another.
    const std::vector<double> in{1.5, static_cast<double>(comm.rank())};
    std::vector<double> out(4, -1.0);
    comm.allreduce(in, std::span(out).subspan(1, 2), kirsh::ReduceOp::avg, {.timeout = kirsh::forever});
    CHECK(out[0] == -1.0 && out[1] == 1.5 && out[2] == (comm.size() - 1) / 2.0 && out[3] == -1.0);

    // Broadcast of numbers, of text, of bytes.
    std::vector<float> weights(1000, comm.rank() == 1 ? 0.25f : 0.0f);
    comm.broadcast(weights, 1, {.algorithm = kirsh::Algorithm::binomial, .name = "weights"});
    CHECK(weights.front() == 0.25f && weights.back() == 0.25f);
    std::string text = comm.rank() == 0 ? "yes" : "...";
    comm.broadcast(text, 0);
    CHECK(text == "yes");
    std::array<std::byte, 2> bytes{};
    comm.broadcast(bytes, 0);

    comm.barrier();
    CHECK(comm.stats().operations > 20);
    const auto peers = comm.stats_by_peer();
    CHECK(peers.size() == static_cast<std::size_t>(comm.size()));
    std::uint64_t frames = 0;
    for (const auto &peer : peers) {
        frames += peer.collective.frames_sent + peer.direct.frames_sent;
    }
    CHECK(frames == comm.stats().frames_sent);
    return 0;
}
