// Ranks that meet in a store of their own, here files in the directory of the first argument; and what
// a store throws arrives as the reason. Two ranks.
#include <kirsh.hpp>

#include "check.h"

#include <filesystem>
#include <fstream>
#include <thread>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

namespace {

namespace fs = std::filesystem;
using Value = std::vector<std::byte>;

class FileStore : public kirsh::Store {
public:
    explicit FileStore(fs::path directory) : directory_(std::move(directory)) {}

    void set(std::string_view key, std::span<const std::byte> value) override {
        const fs::path draft = path(key).concat("." + std::to_string(getpid()));
        std::ofstream(draft, std::ios::binary)
            .write(reinterpret_cast<const char *>(value.data()),
                   static_cast<std::streamsize>(value.size()));
        fs::rename(draft, path(key));
    }

    std::optional<Value> get(std::string_view key) override {
        std::ifstream file(path(key), std::ios::binary);
        if (!file) {
            return std::nullopt;
        }
        Value value;
        for (char c = 0; file.get(c);) {
            value.push_back(static_cast<std::byte>(c));
        }
        return value;
    }

    std::optional<Value> wait(std::string_view key, std::chrono::nanoseconds timeout) override {
        const auto start = std::chrono::steady_clock::now();
        for (;;) {
            if (auto value = get(key)) {
                return value;
            }
            if (std::chrono::steady_clock::now() - start >= timeout) {
                return std::nullopt;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
    }

    std::int64_t add(std::string_view key, std::int64_t delta) override {
        const int lock = open((directory_ / "lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
        if (lock < 0 || flock(lock, LOCK_EX) != 0) {
            throw std::runtime_error("no lock");
        }
        std::int64_t sum = delta;
        if (const auto value = get(key)) {
            sum += std::stoll(std::string(reinterpret_cast<const char *>(value->data()),
                                          value->size()));
        }
        const std::string text = std::to_string(sum);
        set(key, std::as_bytes(std::span(text)));
        close(lock);
        return sum;
    }

private:
    // Keys may hold what file names may not.
    fs::path path(std::string_view key) const {
        std::string name = "key-";
        for (const char c : key) {
            name += std::isalnum(static_cast<unsigned char>(c)) ? std::string(1, c)
                                                                : "_" + std::to_string(c);
        }
        return directory_ / name;
    }

    fs::path directory_;
};

class BrokenStore : public FileStore {
public:
    using FileStore::FileStore;
    void set(std::string_view, std::span<const std::byte>) override { broken(); }
    std::optional<Value> get(std::string_view) override { broken(); }
    std::optional<Value> wait(std::string_view, std::chrono::nanoseconds) override { broken(); }
    std::int64_t add(std::string_view, std::int64_t) override { broken(); }

private:
    [[noreturn]] static void broken() { throw std::runtime_error("the shelf is bare"); }
};

}  // namespace

int main(int argc, char **argv) {
    CHECK(argc == 2);
    // The rendezvous comes from the arguments whole, so the environment's has to go.
    unsetenv("KIRSH_RENDEZVOUS");
    std::weak_ptr<kirsh::Store> watched;
    {
        auto store = std::make_shared<FileStore>(argv[1]);
        watched = store;
        auto comm = kirsh::Communicator::create({.store = std::move(store)});
        std::vector<int> x{comm.rank() + 1};
        comm.allreduce(x);
        CHECK(x[0] == 3);
    }
    CHECK(watched.expired());

    try {
        (void)kirsh::Communicator::create({.store = std::make_shared<BrokenStore>(argv[1])});
        CHECK(!"a communicator out of a broken store");
    } catch (const kirsh::RendezvousError &error) {
        CHECK(std::string_view(error.what()).find("the shelf is bare") != std::string_view::npos);
    }
    return 0;
}
