// Exceptions of the C++ face: the class says the kind, the members the parts. Two ranks.
#include <kirsh.hpp>

#include "check.h"

namespace {

// Runs this and returns the failure of exactly this class.
template <class E, class Body>
E fails(Body &&body) {
    try {
        body();
    } catch (const E &error) {
        return error;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "another exception: %s\n", error.what());
        std::exit(1);
    }
    std::fprintf(stderr, "no exception\n");
    std::exit(1);
}

bool says(const kirsh::Error &error, const char *text) {
    return std::string_view(error.what()).find(text) != std::string_view::npos;
}

}  // namespace

int main() {
    using namespace std::chrono_literals;
    static_assert(std::is_base_of_v<std::runtime_error, kirsh::Error>);

    // Half a configuration.
    (void)fails<kirsh::ConfigurationError>([] { (void)kirsh::Communicator::create({.rank = 0}); });
    // Nobody there: a deadline, within which nobody answers.
    const auto alone = fails<kirsh::Error>([] {
        (void)kirsh::Communicator::create({.rank = 1,
                                  .world_size = 2,
                                  .rendezvous = "tcp://127.0.0.1:1",
                                  .job_id = "nobody",
                                  .join_timeout = 300ms});
    });
    CHECK(alone.kind() == KIRSH_RENDEZVOUS || alone.kind() == KIRSH_TIMEOUT);
    CHECK(says(alone, "127.0.0.1:1"));

    auto comm = kirsh::Communicator::create();
    const int rank = comm.rank();
    std::vector<float> x(3, 1.0f);

    // Refused on both ranks: the communicator goes on.
    const auto refused = fails<kirsh::InvalidArgumentError>([&] { comm.broadcast(x, 2); });
    CHECK(refused.kind() == KIRSH_INVALID_ARGUMENT && refused.scope() == kirsh::Scope::call);
    CHECK(refused.rank() == rank && !refused.peer() && refused.sequence() == 0);
    CHECK(refused.operation() == "broadcast" && says(refused, "root"));
    std::vector<float> shorter(2);
    const auto sizes = fails<kirsh::InvalidArgumentError>([&] { comm.allreduce(x, shorter); });
    CHECK(says(sizes, "recv has 2 elements and needs 3"));
    comm.allreduce(x);
    CHECK(x[0] == 2.0f);

    // Called differently: over, on both.
    std::vector<float> mine(static_cast<std::size_t>(3 + rank));
    const auto mismatch = fails<kirsh::MismatchError>([&] { comm.allreduce(mine); });
    CHECK(mismatch.kind() == KIRSH_MISMATCH && mismatch.scope() == kirsh::Scope::communicator);
    CHECK(mismatch.peer() == 1 - rank && mismatch.sequence() == 3);
    (void)fails<kirsh::MismatchError>([&] { comm.barrier(); });
    auto late = comm.start_barrier();
    (void)fails<kirsh::MismatchError>([&] { late.wait(); });
    CHECK(late.valid());

    // An empty communicator is an error, not a crash.
    const kirsh::Communicator taken = std::move(comm);
    CHECK(says(fails<kirsh::InvalidArgumentError>([&] { (void)comm.rank(); }), "comm is NULL"));

    // The log, through a function that throws.
    int lines = 0;
    kirsh::set_log(
        [&](kirsh::LogLevel, std::string_view) {
            lines++;
            throw std::runtime_error("dropped");
        },
        kirsh::LogLevel::trace);
    kirsh::set_log({}, kirsh::LogLevel::off);
    (void)fails<kirsh::InvalidArgumentError>([] { kirsh::set_log({}, kirsh::LogLevel{17}); });
    return 0;
}
