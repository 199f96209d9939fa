// Trains a small network on the UCI digits that scikit-learn ships, data-parallel.
//
//     python3 examples/digits_data.py digits.csv
//     c++ -std=c++20 -O2 digits.cpp $(pkg-config --cflags --libs kirsh) -o digits
//     kirsh run -n 4 -- ./digits digits.csv
//
// 64 pixels, 64 hidden units, 10 classes; float32. Every rank has a shard of the training rows of its
// own. All start from rank 0's parameters (broadcast) and follow the gradient of the whole batch: each
// rank sums over its rows, an all-reduce sums over the ranks, and what is divided by is the number of
// all rows, so that shards may differ in size. Each rank then takes the same step, and since the sums
// agree to the bit, so do the weights, which the checksum at the end shows.

#include <kirsh.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <numeric>
#include <sstream>

namespace {

constexpr std::size_t rows_total = 1797;
constexpr std::size_t rows_train = 1437;
constexpr std::size_t pixels = 64;
constexpr std::size_t hidden = 64;
constexpr std::size_t classes = 10;
constexpr int epochs = 300;
constexpr float rate = 0.5f;
constexpr float momentum = 0.9f;

struct Row {
    std::array<float, pixels> x;  // 0 to 1
    std::size_t label;
};

// A linear congruential generator (the constants of Knuth's MMIX), so that the shuffle and the first
// weights are the same everywhere.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint32_t next() {
        state_ = state_ * 6364136223846793005u + 1442695040888963407u;
        return static_cast<std::uint32_t>(state_ >> 33);  // 31 bits; the low ones are poor
    }

    // Between -1 and 1.
    float uniform() { return static_cast<float>(next()) / static_cast<float>(1u << 30) - 1.0f; }

private:
    std::uint64_t state_;
};

// Reads lines of `label,p0,...,p63` with pixels from 0 to 16, and shuffles them in a fixed order.
std::vector<Row> read(const std::string &path) {
    std::ifstream file(path);
    std::vector<Row> rows;
    for (std::string line; std::getline(file, line);) {
        std::istringstream fields(line);
        Row row{};
        std::string field;
        std::getline(fields, field, ',');
        row.label = std::stoul(field);
        for (float &pixel : row.x) {
            if (!std::getline(fields, field, ',')) {
                throw std::runtime_error(path + ": a line with too few pixels");
            }
            pixel = std::stof(field) / 16.0f;
        }
        if (row.label >= classes) {
            throw std::runtime_error(path + ": a label beyond 9");
        }
        rows.push_back(row);
    }
    if (rows.size() != rows_total) {
        throw std::runtime_error(path + ": expected 1797 lines and found "
                                 + std::to_string(rows.size()));
    }
    Random random(1);
    for (std::size_t i = rows.size() - 1; i > 0; i--) {
        std::swap(rows[i], rows[random.next() % (i + 1)]);
    }
    return rows;
}

// All parameters, or all gradients, in one array, so that one all-reduce carries them.
struct Parameters {
    std::vector<float> all = std::vector<float>(pixels * hidden + hidden + hidden * classes + classes);

    std::span<float> w1() { return std::span(all).first(pixels * hidden); }
    std::span<float> b1() { return std::span(all).subspan(pixels * hidden, hidden); }
    std::span<float> w2() { return std::span(all).subspan(pixels * hidden + hidden, hidden * classes); }
    std::span<float> b2() { return std::span(all).last(classes); }
};

// What the network makes of one row.
struct Forward {
    std::array<float, hidden> h;
    std::array<float, classes> p;
};

Forward forward(Parameters &net, const Row &row) {
    Forward out{};
    std::ranges::copy(net.b1(), out.h.begin());
    for (std::size_t i = 0; i < pixels; i++) {
        for (std::size_t j = 0; j < hidden; j++) {
            out.h[j] += row.x[i] * net.w1()[i * hidden + j];
        }
    }
    std::ranges::copy(net.b2(), out.p.begin());
    for (std::size_t j = 0; j < hidden; j++) {
        out.h[j] = std::max(out.h[j], 0.0f);
        for (std::size_t k = 0; k < classes; k++) {
            out.p[k] += out.h[j] * net.w2()[j * classes + k];
        }
    }
    const float top = *std::ranges::max_element(out.p);
    float sum = 0.0f;
    for (float &p : out.p) {
        p = std::exp(p - top);
        sum += p;
    }
    for (float &p : out.p) {
        p /= sum;
    }
    return out;
}

// Adds one row's gradient of the cross-entropy.
void backward(Parameters &net, const Row &row, Forward &at, Parameters &gradient) {
    at.p[row.label] -= 1.0f;
    for (std::size_t k = 0; k < classes; k++) {
        gradient.b2()[k] += at.p[k];
    }
    std::array<float, hidden> dh{};
    for (std::size_t j = 0; j < hidden; j++) {
        if (at.h[j] > 0.0f) {
            for (std::size_t k = 0; k < classes; k++) {
                gradient.w2()[j * classes + k] += at.h[j] * at.p[k];
                dh[j] += net.w2()[j * classes + k] * at.p[k];
            }
            gradient.b1()[j] += dh[j];
        }
    }
    for (std::size_t i = 0; i < pixels; i++) {
        for (std::size_t j = 0; j < hidden; j++) {
            gradient.w1()[i * hidden + j] += row.x[i] * dh[j];
        }
    }
}

double accuracy(Parameters &net, std::span<const Row> rows) {
    std::size_t right = 0;
    for (const Row &row : rows) {
        const Forward at = forward(net, row);
        const auto best = std::ranges::max_element(at.p) - at.p.begin();
        right += static_cast<std::size_t>(best) == row.label;
    }
    return 100.0 * static_cast<double>(right) / static_cast<double>(rows.size());
}

// FNV-1a over the bits of the weights.
std::uint64_t checksum(const Parameters &net) {
    std::uint64_t hash = 14695981039346656037u;
    for (const float weight : net.all) {
        hash = (hash ^ std::bit_cast<std::uint32_t>(weight)) * 1099511628211u;
    }
    return hash;
}

int train(const std::string &path) {
    kirsh::Communicator comm;
    const std::vector<Row> rows = read(path);
    const std::span<const Row> all(rows);
    const auto rank = static_cast<std::size_t>(comm.rank());
    const auto size = static_cast<std::size_t>(comm.size());
    const std::size_t from = rows_train * rank / size;
    const std::span<const Row> shard = all.subspan(from, rows_train * (rank + 1) / size - from);

    // Each rank draws weights of its own, and rank 0's are those that count.
    Parameters net;
    Random random(2 + rank);
    for (float &w : net.w1()) {
        w = random.uniform() * std::sqrt(6.0f / pixels);
    }
    for (float &w : net.w2()) {
        w = random.uniform() * std::sqrt(6.0f / hidden);
    }
    comm.broadcast(net.all, 0);

    std::vector<float> velocity(net.all.size());
    Parameters gradient;
    for (int epoch = 0; epoch < epochs; epoch++) {
        std::ranges::fill(gradient.all, 0.0f);
        for (const Row &row : shard) {
            Forward at = forward(net, row);
            backward(net, row, at, gradient);
        }
        comm.allreduce(gradient.all);
        for (std::size_t i = 0; i < net.all.size(); i++) {
            velocity[i] = momentum * velocity[i] - rate * gradient.all[i] / rows_train;
            net.all[i] += velocity[i];
        }
    }

    const double percent = accuracy(net, all.subspan(rows_train));
    std::ostringstream line;  // in one piece, since all ranks write
    line << "rank " << rank << " of " << size << ": " << shard.size() << " rows, test accuracy "
         << std::fixed << std::setprecision(2) << percent << " %, checksum " << std::hex
         << checksum(net) << '\n';
    std::cout << line.str() << std::flush;
    return percent >= 95.0 ? 0 : 1;
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
