// Elements that travel in fewer bytes, in the C++ face. Any number of ranks.
#include <kirsh.hpp>

#include "check.h"

int main() {
    auto comm = kirsh::Communicator::create({.wire = kirsh::Wire::bf16});
    const float fine = 1.0f + 1.0f / 1024;
    std::vector<float> x(1000, fine);
    comm.allreduce(x, kirsh::ReduceOp::max);
    CHECK(x.front() == (comm.size() == 1 ? fine : 1.0f) && x.back() == x.front());
    x.assign(1000, fine);
    comm.allreduce(x, kirsh::ReduceOp::max, {.wire = kirsh::Wire::none});
    CHECK(x.front() == fine);
    // 1/1024 is half of a binary16's last place at 1: exact one place above that.
    x.assign(1000, 1.0f + 1.0f / 512);
    comm.start_allreduce(std::span(x), kirsh::ReduceOp::max, {.wire = kirsh::Wire::f16}).wait();
    CHECK(x.front() == 1.0f + 1.0f / 512);
    std::vector<float> all(1000 * static_cast<std::size_t>(comm.size()));
    comm.allgather(x, all, {.wire = kirsh::Wire::int8});
    for (const float value : all) {
        CHECK(value > 1.0f && value < 1.004f);
    }
    try {
        std::vector<double> wide(3, 1.0);
        comm.allreduce(wide, kirsh::ReduceOp::sum, {.wire = kirsh::Wire::int8});
        CHECK(false);
    } catch (const kirsh::Error &error) {
        CHECK(error.kind() == KIRSH_UNSUPPORTED);
        CHECK(std::string(error.what()).find("wire=int8 of float64") != std::string::npos);
    }
    return 0;
}
