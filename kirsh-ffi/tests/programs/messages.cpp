// Messages in C++: by tag and from anybody, exchanged, started. Three ranks.
#include <kirsh.hpp>

#include "check.h"

#include <numeric>

int main() {
    auto comm = kirsh::Communicator::create();
    const int rank = comm.rank();
    const int size = comm.size();
    const int right = (rank + 1) % size;
    const int left = (rank + size - 1) % size;

    if (rank == 0) {
        const std::vector<int> three{1, 2, 3};
        const std::vector<double> half{0.5};
        comm.send(three, 1, 5);
        comm.send(half, 1, 6);
    } else if (rank == 1) {
        std::vector<double> half(4, 9.0);
        const auto first = comm.recv(half, 0, 6);
        CHECK(first.count == 1 && first.source == 0 && first.tag == 6 && half[0] == 0.5);
        CHECK(half[1] == 9.0);
        std::vector<int> three(3);
        const auto second = comm.recv(three);
        CHECK(second.tag == 5 && (three == std::vector<int>{1, 2, 3}));
    }

    std::vector<float> mine(200'000);
    std::iota(mine.begin(), mine.end(), static_cast<float>(rank));
    std::vector<float> other(mine.size());
    const auto around = comm.sendrecv(mine, right, other, left, 3);
    CHECK(around.count == mine.size() && around.source == left);
    CHECK(other[10] == static_cast<float>(left + 10));

    auto coming = comm.start_recv(std::vector<float>(mine.size()), left, 4);
    auto going = comm.start_send(std::move(mine), right, 4);
    CHECK(kirsh::wait_all({&coming, &going}));
    CHECK(coming.received().count == 200'000 && coming.received().source == left);
    other = coming.wait();
    CHECK(other[1] == static_cast<float>(left + 1));
    CHECK(going.wait().size() == 200'000);

    if (rank == 0) {
        const std::vector<int> two{1, 2};
        comm.send(two, 1, 8);
    } else if (rank == 1) {
        std::vector<int> one(1);
        try {
            (void)comm.recv(one, 0, 8);
            CHECK(!"two elements in the place of one");
        } catch (const kirsh::MismatchError &error) {
            CHECK(error.scope() == kirsh::Scope::call);
        }
    }
    comm.barrier();
    return 0;
}
