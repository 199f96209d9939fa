// Sums the ranks.
#include <kirsh.hpp>

int main() {
    kirsh::Communicator comm;
    std::vector<int> ranks{comm.rank()};
    comm.allreduce(ranks);
    return ranks[0] == comm.size() * (comm.size() - 1) / 2 ? 0 : 1;
}
