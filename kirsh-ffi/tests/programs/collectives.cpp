// Every collective of the C++ face, called, started and planned, and waiting for several. Any number of
// ranks from 1 to 3.
#include <kirsh.hpp>

#include "check.h"

#include <algorithm>
#include <numeric>

namespace {

using Values = std::vector<std::int64_t>;

/// A call in each of the three ways: `run` makes it at once, `started` gives a Work, `planned` a Plan.
template <class Run, class Start, class Prepare, class Check>
void ways(Run run, Start start, Prepare prepare, Check check) {
    run();
    check();
    start().wait();
    check();
    auto plan = prepare();
    CHECK(plan.valid());
    plan.run();
    check();
    plan.start().wait();
    check();
}

Values from(std::size_t first, std::size_t count) {
    Values values(count);
    std::iota(values.begin(), values.end(), static_cast<std::int64_t>(first));
    return values;
}

}  // namespace

int main() {
    using namespace std::chrono_literals;
    auto comm = kirsh::Communicator::create();
    const auto rank = static_cast<std::size_t>(comm.rank());
    const auto size = static_cast<std::size_t>(comm.size());
    const auto ranks = static_cast<std::int64_t>(size);
    const int last = comm.size() - 1;
    constexpr std::size_t n = 3;

    // From a const buffer of n elements of this rank into another.
    const Values mine = from(n * rank, n);
    const Values everything = from(0, n * size);
    Values one(n);
    Values all(n * size);
    const std::span send(mine), whole(everything);

    ways([&] { comm.reduce(mine, one, kirsh::ReduceOp::min, last); },
         [&] { return comm.start_reduce(send, std::span(one), kirsh::ReduceOp::min, last); },
         [&] { return comm.plan_reduce(send, std::span(one), kirsh::ReduceOp::min, last); },
         [&] { CHECK(comm.rank() != last || one == from(0, n)); });
    ways([&] { comm.allreduce(mine, one, kirsh::ReduceOp::max); },
         [&] { return comm.start_allreduce(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { return comm.plan_allreduce(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { CHECK(one == from(n * (size - 1), n)); });
    ways([&] { comm.scan(mine, one, kirsh::ReduceOp::max); },
         [&] { return comm.start_scan(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { return comm.plan_scan(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { CHECK(one == mine); });
    ways([&] { comm.exscan(mine, one, kirsh::ReduceOp::max); },
         [&] { return comm.start_exscan(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { return comm.plan_exscan(send, std::span(one), kirsh::ReduceOp::max); },
         [&] { CHECK(rank == 0 || one == from(n * (rank - 1), n)); });
    ways([&] { comm.reduce_scatter(everything, one, kirsh::ReduceOp::min); },
         [&] { return comm.start_reduce_scatter(whole, std::span(one), kirsh::ReduceOp::min); },
         [&] { return comm.plan_reduce_scatter(whole, std::span(one), kirsh::ReduceOp::min); },
         [&] { CHECK(one == mine); });
    ways([&] { comm.allgather(mine, all); },
         [&] { return comm.start_allgather(send, std::span(all)); },
         [&] { return comm.plan_allgather(send, std::span(all)); },
         [&] { CHECK(all == everything); std::ranges::fill(all, 0); });
    ways([&] { comm.gather(mine, all, 0); },
         [&] { return comm.start_gather(send, std::span(all), 0); },
         [&] { return comm.plan_gather(send, std::span(all), 0); },
         [&] { CHECK(rank != 0 || all == everything); std::ranges::fill(all, 0); });
    ways([&] { comm.scatter(everything, one, last); },
         [&] { return comm.start_scatter(whole, std::span(one), last); },
         [&] { return comm.plan_scatter(whole, std::span(one), last); },
         [&] { CHECK(one == mine); std::ranges::fill(one, 0); });
    ways([&] { comm.alltoall(everything, all); },
         [&] { return comm.start_alltoall(whole, std::span(all)); },
         [&] { return comm.plan_alltoall(whole, std::span(all)); },
         [&] {
             for (std::size_t i = 0; i < all.size(); i++) {
                 CHECK(all[i] == mine[i % n]);
             }
         });

    // Rank r has r + 1 elements, which lie one apart from each other.
    std::vector<std::size_t> counts, displacements;
    for (std::size_t r = 0, next = 1; r < size; r++) {
        counts.push_back(r + 1);
        displacements.push_back(next);
        next += r + 2;
    }
    const kirsh::Parts parts{counts, displacements};
    const Values own = from(10 * rank, rank + 1);
    Values part(rank + 1);
    Values apart(displacements.back() + counts.back());
    const auto gathered = [&] {
        for (std::size_t r = 0; r < size; r++) {
            CHECK(std::ranges::equal(std::span(apart).subspan(displacements[r], counts[r]),
                                     from(10 * r, r + 1)));
        }
        CHECK(apart[0] == 0);
    };
    ways([&] { comm.allgatherv(own, apart, parts); },
         [&] { return comm.start_allgatherv(std::span(own), std::span(apart), parts); },
         [&] { return comm.plan_allgatherv(std::span(own), std::span(apart), parts); }, gathered);
    const Values parted = apart;
    ways([&] { comm.gatherv(own, apart, rank == 0 ? parts : kirsh::Parts{}, 0); },
         [&] { return comm.start_gatherv(std::span(own), std::span(apart), parts, 0); },
         [&] { return comm.plan_gatherv(std::span(own), std::span(apart), parts, 0); }, gathered);
    ways([&] { comm.scatterv(parted, part, parts, last); },
         [&] { return comm.start_scatterv(std::span(parted), std::span(part), parts, last); },
         [&] { return comm.plan_scatterv(std::span(parted), std::span(part), parts, last); },
         [&] { CHECK(part == own); std::ranges::fill(part, 0); });
    ways([&] { comm.reduce_scatterv(parted, part, parts, kirsh::ReduceOp::max); },
         [&] {
             return comm.start_reduce_scatterv(std::span(parted), std::span(part), parts,
                                               kirsh::ReduceOp::max);
         },
         [&] {
             return comm.plan_reduce_scatterv(std::span(parted), std::span(part), parts,
                                              kirsh::ReduceOp::max);
         },
         [&] { CHECK(part == own); std::ranges::fill(part, 0); });
    const std::vector<std::size_t> same(size, rank + 1);
    Values exchanged(size * (rank + 1));
    ways([&] { comm.alltoallv(parted, exchanged, parts, {same}); },
         [&] {
             return comm.start_alltoallv(std::span(parted), std::span(exchanged), parts, {same});
         },
         [&] { return comm.plan_alltoallv(std::span(parted), std::span(exchanged), parts, {same}); },
         [&] {
             for (std::size_t i = 0; i < exchanged.size(); i++) {
                 CHECK(exchanged[i] == own[i % (rank + 1)]);
             }
         });

    // In place: of a span, of a vector that goes in and comes back, of many.
    Values x{1, 2};
    comm.reduce(x, kirsh::ReduceOp::sum, 0);
    CHECK(x[1] == (rank == 0 ? 2 * ranks : 2));
    x = comm.start_scan(Values{1, 2}).wait();
    CHECK((x == Values{comm.rank() + 1, 2 * (comm.rank() + 1)}));
    x = comm.start_reduce(Values{3}, kirsh::ReduceOp::sum, last).wait();
    CHECK(x[0] == (comm.rank() == last ? 3 * ranks : 3));
    x = {1};
    (void)comm.start_exscan(std::span(x)).wait();
    CHECK(x[0] == (rank == 0 ? 1 : comm.rank()));
    auto spread = comm.plan_broadcast(std::span(x), last);
    for (int round = 0; round < 3; round++) {
        x[0] = 10 * comm.rank() + round;
        spread.run();
        CHECK(x[0] == 10 * last + round);
    }
    comm.plan_barrier().run();
    std::vector<std::vector<float>> gradients{{1, 2}, {}, {3}};
    comm.allreduce_many(gradients, kirsh::ReduceOp::avg);
    CHECK(gradients[0][1] == 2 && gradients[2][0] == 3);
    comm.start_allreduce_many(gradients).wait();
    CHECK(gradients[0][0] == static_cast<float>(ranks) && gradients[2][0] == 3 * static_cast<float>(ranks));
    std::vector<std::span<float>> views(gradients.begin(), gradients.end());
    comm.plan_allreduce_many(views, kirsh::ReduceOp::max).run();

    // Weights.
    std::array<double, 1> mean{static_cast<double>(rank)};
    comm.allreduce(mean, kirsh::ReduceOp::avg, {.weight = comm.rank() == last ? 2.0 : 0.0});
    CHECK(mean[0] == static_cast<double>(last));

    // Several at once, of one kind and of two.
    std::vector<kirsh::Work<Values>> works;
    for (std::int64_t i = 0; i < 4; i++) {
        works.push_back(comm.start_allreduce(Values{i}));
    }
    CHECK(kirsh::wait_all(works));
    CHECK(kirsh::wait_any(works) == 0);
    CHECK(works[0].wait() == Values{0});
    CHECK(kirsh::wait_any(works, 10s) == 1);
    CHECK(works[3].wait() == Values{3 * ranks});
    auto meeting = comm.start_barrier();
    CHECK(kirsh::wait_all({&meeting, &works[1]}));
    CHECK(kirsh::wait_any({&works[0], &meeting}) == 1);
    CHECK(!kirsh::wait_any({&works[0], &works[3]}).has_value());

    // Sizes that do not fit are refused by all alike, by the name of the call.
    const auto refused = [&](auto &&call, const char *operation) {
        try {
            call();
            CHECK(!"refused");
        } catch (const kirsh::InvalidArgumentError &error) {
            CHECK(error.operation() == operation && error.sequence() > 0);
        }
    };
    Values odd(n * size + 1);
    refused([&] { comm.allgather(mine, odd); }, "allgather");
    refused([&] { comm.reduce_scatter(odd, one); }, "reduce_scatter");
    refused([&] { (void)comm.start_scan(send, std::span(odd)); }, "scan");
    refused([&] { (void)comm.plan_scatter(std::span(odd), std::span(one), comm.rank()); }, "scatter");
    refused([&] { comm.allgatherv(own, std::span(apart).first(apart.size() - 1), parts); }, "allgatherv");
    refused([&] { comm.allgatherv(own, apart, {std::span(counts).first(size - 1)}); }, "allgatherv");
    if (size > 1) {
        refused([&] { comm.alltoall(odd, odd); }, "alltoall");
    }
    comm.barrier();
    return 0;
}
