// Trains a small network on handwritten digits, on as many ranks as there are: digits.py in C++.
//
//     make venv && .venv/bin/python examples/digits_data.py digits.csv
//     c++ -std=c++20 -O2 examples/digits.cpp $(pkg-config --cflags --libs kirsh) -o digits
//     kirsh run -n 4 -- ./digits digits.csv
//
// Each rank holds a share of its own of the 1437 training rows. The ranks begin with the parameters of
// rank 0 (a broadcast), and before each step they add up their gradients (an allreduce), so that they
// stay equal to the last bit without ever sending parameters again. The checksums at the end show it.

#include <kirsh.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <sstream>

namespace {

constexpr std::size_t rows_total = 1797;
constexpr std::size_t train_rows = 1437;
constexpr std::size_t pixels = 64;
constexpr std::size_t hidden = 64;
constexpr std::size_t classes = 10;
constexpr int epochs = 30;
constexpr std::size_t steps_per_epoch = 22;
constexpr float learning_rate = 0.1f;
constexpr float momentum = 0.9f;
constexpr std::uint64_t seed = 20;
constexpr double accuracy_min = 0.95;

struct Row {
    std::array<float, pixels> pixel;  // 0 to 1
    std::size_t label;
};

// A linear congruential generator (the constants of Knuth's MMIX): the same numbers everywhere.
class Random {
public:
    explicit Random(std::uint64_t start) : state_(start) {}

    // 31 bits; the lower ones are poor.
    std::uint32_t next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>(state_ >> 33);
    }

    // Between -1 and 1.
    float uniform() { return static_cast<float>(next()) / static_cast<float>(1u << 30) - 1.0f; }

    template <class T>
    void shuffle(std::vector<T> &values) {
        for (std::size_t i = values.size(); i > 1; i--) {
            std::swap(values[i - 1], values[next() % i]);
        }
    }

private:
    std::uint64_t state_;
};

// 64 inputs, a hidden layer of ReLUs, ten outputs. All parameters, or all their gradients, are one flat
// array, of which these are the parts.
struct Views {
    static constexpr std::size_t size = pixels * hidden + hidden + hidden * classes + classes;

    explicit Views(std::span<float> flat)
        : w1(flat.first(pixels * hidden)), b1(flat.subspan(pixels * hidden, hidden)),
          w2(flat.subspan(pixels * hidden + hidden, hidden * classes)),
          b2(flat.subspan(pixels * hidden + hidden + hidden * classes, classes)) {}

    std::span<float> w1, b1, w2, b2;
};

// What the network makes of one row: the hidden layer, and the chance of each digit.
struct Guess {
    std::array<float, hidden> h{};
    std::array<float, classes> p{};
};

Guess guess(const Views &net, const Row &row) {
    Guess out;
    std::ranges::copy(net.b1, out.h.begin());
    for (std::size_t i = 0; i < pixels; i++) {
        for (std::size_t j = 0; j < hidden; j++) {
            out.h[j] += row.pixel[i] * net.w1[i * hidden + j];
        }
    }
    std::ranges::copy(net.b2, out.p.begin());
    for (std::size_t j = 0; j < hidden; j++) {
        out.h[j] = std::max(out.h[j], 0.0f);
        for (std::size_t k = 0; k < classes; k++) {
            out.p[k] += out.h[j] * net.w2[j * classes + k];
        }
    }
    const float highest = *std::ranges::max_element(out.p);
    float sum = 0.0f;
    for (float &p : out.p) {
        p = std::exp(p - highest);
        sum += p;
    }
    for (float &p : out.p) {
        p /= sum;
    }
    return out;
}

double accuracy(const Views &net, std::span<const Row> rows) {
    const auto right = std::ranges::count_if(rows, [&](const Row &row) {
        const Guess at = guess(net, row);
        return std::ranges::max_element(at.p) - at.p.begin() == static_cast<std::ptrdiff_t>(row.label);
    });
    return static_cast<double>(right) / static_cast<double>(rows.size());
}

// Adds up the gradient over the rows, behind it their loss and their number. Sums, not means, because
// sums of ranks with different numbers of rows can be added.
void sum_gradient(const Views &net, std::span<const Row *const> rows, std::span<float> total) {
    std::ranges::fill(total, 0.0f);
    const Views gradient(total);
    for (const Row *row : rows) {
        Guess at = guess(net, *row);
        total[Views::size] -= std::log(at.p[row->label]);
        at.p[row->label] -= 1.0f;
        std::array<float, hidden> dh{};
        for (std::size_t k = 0; k < classes; k++) {
            gradient.b2[k] += at.p[k];
        }
        for (std::size_t j = 0; j < hidden; j++) {
            for (std::size_t k = 0; k < classes && at.h[j] > 0.0f; k++) {
                gradient.w2[j * classes + k] += at.h[j] * at.p[k];
                dh[j] += net.w2[j * classes + k] * at.p[k];
            }
            gradient.b1[j] += dh[j];
        }
        for (std::size_t i = 0; i < pixels; i++) {
            for (std::size_t j = 0; j < hidden; j++) {
                gradient.w1[i * hidden + j] += row->pixel[i] * dh[j];
            }
        }
    }
    total[Views::size + 1] = static_cast<float>(rows.size());
}

// Reads lines of `label,p0,...,p63`, pixels from 0 to 16, into an order that is the same everywhere: first
// the rows to train on.
std::vector<Row> load(const std::string &path) {
    std::ifstream file(path);
    std::vector<Row> rows;
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        Row row{};
        char comma = 0;
        fields >> row.label;
        for (float &pixel : row.pixel) {
            fields >> comma >> pixel;
            pixel /= 16.0f;
        }
        if (!fields || row.label >= classes) {
            throw std::runtime_error(path + ": not a digit and 64 pixels: " + line);
        }
        rows.push_back(row);
    }
    if (rows.size() != rows_total) {
        throw std::runtime_error(path + ": " + std::to_string(rows.size()) + " rows, not "
                                 + std::to_string(rows_total));
    }
    Random(seed).shuffle(rows);
    return rows;
}

// FNV-1a over the bits of the parameters.
std::uint64_t checksum(std::span<const float> parameters) {
    std::uint64_t hash = 14695981039346656037u;
    for (const float value : parameters) {
        hash = (hash ^ std::bit_cast<std::uint32_t>(value)) * 1099511628211u;
    }
    return hash;
}

int train(const std::string &path) {
    auto comm = kirsh::Communicator::create();
    const auto rank = static_cast<std::size_t>(comm.rank());
    const auto size = static_cast<std::size_t>(comm.size());
    const std::vector<Row> rows = load(path);
    std::vector<const Row *> shard;
    for (std::size_t i = rank; i < train_rows; i += size) {
        shard.push_back(&rows[i]);
    }

    // Every rank draws numbers of its own; the broadcast makes them one network.
    Random random(seed + 1 + rank);
    std::vector<float> flat(Views::size);
    const Views net(flat);
    std::ranges::generate(net.w1, [&] { return random.uniform() * std::sqrt(6.0f / pixels); });
    std::ranges::generate(net.w2, [&] { return random.uniform() * std::sqrt(6.0f / hidden); });
    comm.broadcast(flat, 0);

    const auto began = std::chrono::steady_clock::now();
    std::vector<float> velocity(Views::size);
    std::vector<float> total(Views::size + 2);
    for (int epoch = 1; epoch <= epochs; epoch++) {
        float loss = 0.0f;
        random.shuffle(shard);
        // As many steps on every rank, also where one has a row more than another.
        for (std::size_t step = 0; step < steps_per_epoch; step++) {
            const std::size_t from = shard.size() * step / steps_per_epoch;
            const std::size_t to = shard.size() * (step + 1) / steps_per_epoch;
            sum_gradient(net, std::span(shard).subspan(from, to - from), total);
            comm.allreduce(total);
            for (std::size_t i = 0; i < Views::size; i++) {
                velocity[i] = momentum * velocity[i] - learning_rate * total[i] / total.back();
                flat[i] += velocity[i];
            }
            loss += total[Views::size] / static_cast<float>(train_rows);
        }
        if (rank == 0 && epoch % 5 == 0) {
            std::cout << "epoch " << std::setw(2) << epoch << ": loss " << loss << std::endl;
        }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - began;

    const double right = accuracy(net, std::span(rows).subspan(train_rows));
    std::ostringstream line;  // in one piece, since all ranks write
    line << "rank " << rank << std::fixed << std::setprecision(4) << ": accuracy " << right
         << ", weights " << std::hex << checksum(flat) << std::setprecision(1) << ", "
         << seconds.count() << " s\n";
    std::cout << line.str() << std::flush;
    return right >= accuracy_min ? 0 : 1;
}

}  // namespace

int main(int argc, char **argv) {
    if (argc != 2) {
        std::cerr << "usage: " << argv[0] << " digits.csv\n";
        return 2;
    }
    try {
        return train(argv[1]);
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
