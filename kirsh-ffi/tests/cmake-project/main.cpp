// Sums the ranks.
#include <kirsh.hpp>

int main() {
    auto comm = kirsh::Communicator::create();
    std::vector<int> ranks{comm.rank()};
    comm.allreduce(ranks);
    return ranks[0] == comm.size() * (comm.size() - 1) / 2 ? 0 : 1;
}
