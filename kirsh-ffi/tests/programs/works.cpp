// Started operations of the C++ face: owned and borrowed buffers, moves, and destructors that wait.
// Two ranks; a second communicator is the signal between them.
#include <kirsh.hpp>

#include "check.h"

#include <malloc.h>

namespace {

constexpr std::size_t large = std::size_t{2} << 20;

bool all(const std::vector<float> &values, float expected) {
    for (const float value : values) {
        if (value != expected) {
            return false;
        }
    }
    return true;
}

}  // namespace

int main() {
    using namespace std::chrono_literals;
    // A large vector that is freed while it is lent is then gone from the address space, and the late
    // write into it ends the program.
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    auto comm = kirsh::Communicator::create();
    auto gate = kirsh::Communicator::create();
    const bool early = comm.rank() == 0;
    const float mine = static_cast<float>(comm.rank() + 1);

    // Owned: the vector goes in and comes back, the same memory.
    std::vector<float> owned(large, mine);
    const float *const memory = owned.data();
    if (!early) {
        gate.barrier();
    }
    auto work = comm.start_allreduce(std::move(owned));
    static_assert(!std::is_copy_constructible_v<decltype(work)>);
    CHECK(work.valid());
    if (early) {
        CHECK(!work.test());
        CHECK(!work.wait_for(10ms));
        CHECK(!work.wait_for(0ms));
        gate.barrier();
    }
    auto moved = std::move(work);
    CHECK(!work.valid());
    owned = moved.wait();
    CHECK(!moved.valid());
    CHECK(owned.data() == memory && owned.size() == large && all(owned, 3.0f));

    // Borrowed, and left: the destructor waits, so that the buffer is whole and ours behind it.
    std::vector<float> borrowed(large, mine);
    if (!early) {
        gate.barrier();
    }
    {
        const auto forgotten = comm.start_allreduce(std::span(borrowed));
        if (early) {
            gate.barrier();
        }
    }
    CHECK(all(borrowed, 3.0f));

    // Assigned over: the old operation is waited for before its buffer goes.
    std::vector<float> second(large, mine);
    if (!early) {
        gate.barrier();
    }
    auto reused = comm.start_allreduce(std::vector<float>(large, mine));
    auto next = comm.start_allreduce(std::move(second), kirsh::ReduceOp::max);
    if (early) {
        gate.barrier();
    }
    reused = std::move(next);
    CHECK(all(reused.wait(), 2.0f));

    // Empty ones, broadcast, barrier, and release().
    kirsh::Work<std::span<int>> none;
    CHECK(!none.valid());
    std::vector<int> numbers{comm.rank(), 5};
    none = comm.start_broadcast(std::span(numbers), 1);
    const std::span<int> back = none.wait();
    CHECK(back.data() == numbers.data() && numbers[0] == 1);
    auto meeting = comm.start_barrier();
    while (!meeting.wait_for(1s)) {
    }
    CHECK(meeting.test());
    meeting.wait();
    CHECK(!meeting.valid());
    auto spread = comm.start_broadcast(std::vector<int>{comm.rank() + 7}, 0);
    CHECK(spread.release().front() == 7 && !spread.valid());
    return 0;
}
