// Communicators made from communicators, in C++. Three ranks.
#include <kirsh.hpp>

#include "check.h"

#include <array>

namespace {

int counted(kirsh::Communicator &comm) {
    std::vector<float> one{1};
    comm.allreduce(one);
    return static_cast<int>(one[0]);
}

}  // namespace

int main() {
    std::optional<kirsh::Communicator> twin;
    std::optional<kirsh::Communicator> some;
    {
        auto comm = kirsh::Communicator::create();
        const int rank = comm.rank();
        const auto color = rank < 2 ? std::optional<std::uint32_t>(7) : std::nullopt;
        auto group = comm.split(color, -rank);
        CHECK(group.has_value() == (rank < 2));
        if (group) {
            CHECK(group->rank() == 1 - rank && counted(*group) == 2);
        }
        some = comm.subgroup(std::array{2, 0});
        CHECK(some.has_value() == (rank != 1));
        try {
            (void)comm.subgroup(std::array{rank == 1 ? 1 : 0});
            CHECK(!"different lists");
        } catch (const kirsh::MismatchError &error) {
            CHECK(error.peer() == 1 && error.operation() == "subgroup");
        }
        twin = comm.dup(1);
    }
    CHECK(counted(*twin) == 3);
    if (some) {
        CHECK(counted(*some) == 2);
    }
    return 0;
}
