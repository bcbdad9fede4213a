// All-reduce algorithms against MPI_Allreduce, in one program, interleaved, every result checked.
//   mpirun -np 2 bench_allreduce [--repetitions 15] [--max-mb 103] [--wait polite|eager] [--json FILE]
// Prints, for each size and algorithm, the median and the 10th and 90th percentile of the slowest rank's time, and MPI's median
// divided by this one's. Exits with 1 when a sum is wrong.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <span>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "collectives/communicator.hpp"
#include "collectives/mpi_handles.hpp"
#include "collectives/node_window.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kResnet50 = 25557032;  // parameters, 102 MB

struct Options {
  int repetitions = 15;
  double max_mb = 103.0;
  std::string wait = "polite";
  std::string json;
};

struct Measurement {
  std::int64_t bytes = 0;
  std::string algorithm;
  double median_us = 0.0;
  double p10_us = 0.0;
  double p90_us = 0.0;
  double over_mpi = 0.0;  ///< MPI's median / this median
};

double read_number(std::string_view text, const char* option) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0.0)) {
    throw ConfigError(Fault{.doing = std::string("reading ") + option,
                            .expected = "a number above 0",
                            .found = std::string(text),
                            .remedy = std::string(option) + " 15"});
  }
  return value;
}

Options read_options(std::span<char*> arguments) {
  Options options;
  for (std::size_t i = 1; i < arguments.size(); i += 2) {
    const std::string option = arguments[i];
    const bool is_known = option == "--repetitions" || option == "--max-mb" || option == "--wait" || option == "--json";
    if (!is_known || i + 1 == arguments.size()) {
      throw ConfigError(Fault{.doing = "reading the options",
                              .expected = "--repetitions N, --max-mb F, --wait polite|eager, --json FILE",
                              .found = option,
                              .remedy = ""});
    }
    const std::string value = arguments[i + 1];
    if (option == "--repetitions") options.repetitions = static_cast<int>(read_number(value, "--repetitions"));
    if (option == "--max-mb") options.max_mb = read_number(value, "--max-mb");
    if (option == "--wait") options.wait = value;
    if (option == "--json") options.json = value;
  }
  if (options.wait != "polite" && options.wait != "eager") {
    throw ConfigError(
        Fault{.doing = "reading --wait", .expected = "polite or eager", .found = options.wait, .remedy = "--wait polite"});
  }
  return options;
}

double percentile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(place);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

/// Element i of a rank's contribution, and of the sum: small integers, so the sum is exact in any order.
float contribution(int rank, std::int64_t i) { return static_cast<float>((i + rank) % 5 + rank); }

class AllReduceBench {
 public:
  AllReduceBench(const Communicator& communicator, const Options& options)
      : communicator_(communicator),
        options_(options),
        elements_(std::min(kResnet50, static_cast<std::int64_t>(options.max_mb * 1e6 / 4))),
        window_(communicator, elements_) {
    const bool can_share = communicator.nodes() == 1 && window_.is_shared();
    for (const AllReduceAlgorithm algorithm : {AllReduceAlgorithm::mpi, AllReduceAlgorithm::shm, AllReduceAlgorithm::ring}) {
      if (algorithm == AllReduceAlgorithm::shm && !can_share) continue;
      algorithms_.emplace_back(communicator, window_, algorithm, options.wait == "eager" ? kEagerWait : kPoliteWait);
    }
    expected_.resize(static_cast<std::size_t>(elements_));
    given_.resize(static_cast<std::size_t>(elements_));
    for (std::int64_t i = 0; i < elements_; ++i) {
      given_[static_cast<std::size_t>(i)] = contribution(communicator.rank(), i);
      for (int rank = 0; rank < communicator.size(); ++rank) expected_[static_cast<std::size_t>(i)] += contribution(rank, i);
    }
  }

  const std::string& not_shared_because() const { return window_.reason(); }
  std::int64_t wrong_sums() const { return wrong_sums_; }

  std::vector<std::int64_t> sizes() const {
    std::vector<std::int64_t> counts;
    for (std::int64_t count = 1024; count < elements_; count *= 4) counts.push_back(count);
    counts.push_back(elements_);
    return counts;
  }

  /// One size, algorithms in turn. Result: one measurement per algorithm, on every rank.
  std::vector<Measurement> measure(std::int64_t count) {
    constexpr int kWarmUps = 2;
    // A time is the mean of several short calls.
    const int calls = static_cast<int>(std::clamp<std::int64_t>(262144 / count, 1, 100));
    std::vector<std::vector<double>> times_us(algorithms_.size());
    for (int repetition = -kWarmUps; repetition < options_.repetitions; ++repetition) {
      for (std::size_t i = 0; i < algorithms_.size(); ++i) {
        const double time_us = time_calls(algorithms_[i], count, calls);
        if (repetition >= 0) times_us[i].push_back(time_us);
      }
    }
    std::vector<Measurement> measurements;
    const double mpi_us = percentile(times_us[0], 0.5);
    for (std::size_t i = 0; i < algorithms_.size(); ++i) {
      const double median_us = percentile(times_us[i], 0.5);
      measurements.push_back({.bytes = count * 4,
                              .algorithm = to_text(algorithms_[i].algorithm()),
                              .median_us = median_us,
                              .p10_us = percentile(times_us[i], 0.1),
                              .p90_us = percentile(times_us[i], 0.9),
                              .over_mpi = mpi_us / median_us});
    }
    return measurements;
  }

 private:
  /// Microseconds per call on the slowest rank. Before each call every rank writes its contribution, as a backward pass does,
  /// so that the data lie in the caches of the ranks that made them; then all start together.
  double time_calls(AllReduce& all_reduce, std::int64_t count, int calls) {
    const auto slice = window_.own().first(static_cast<std::size_t>(count));
    double elapsed_s = 0.0;
    for (int call = 0; call < calls; ++call) {
      std::copy_n(given_.begin(), count, slice.begin());
      check_mpi(MPI_Barrier(communicator_.handles().world), "MPI_Barrier");
      const double start_s = MPI_Wtime();
      all_reduce.run(0, count);
      elapsed_s += MPI_Wtime() - start_s;
      wrong_sums_ += std::equal(slice.begin(), slice.end(), expected_.begin()) ? 0 : 1;
    }
    return communicator_.max(elapsed_s / calls) * 1e6;
  }

  const Communicator& communicator_;
  const Options& options_;
  std::int64_t elements_;
  NodeWindow window_;
  std::vector<AllReduce> algorithms_;  // MPI first
  std::vector<float> given_;
  std::vector<float> expected_;
  std::int64_t wrong_sums_ = 0;
};

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown processor";
}

std::string mpi_version() {
  std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
  int length = 0;
  MPI_Get_library_version(text.data(), &length);
  const std::string version(text.data(), static_cast<std::size_t>(length));
  return version.substr(0, version.find(','));
}

std::string to_json(const std::vector<Measurement>& measurements, const Communicator& communicator, const Options& options) {
  std::ostringstream json;
  json << "{\"host\": \"" << host_name() << "\", \"processor\": \"" << processor_name()
       << "\", \"cores\": " << sysconf(_SC_NPROCESSORS_ONLN) << ", \"ranks\": " << communicator.size()
       << ", \"nodes\": " << communicator.nodes() << ", \"mpi\": \"" << mpi_version() << "\", \"wait\": \"" << options.wait
       << "\", \"repetitions\": " << options.repetitions << ", \"results\": [";
  for (std::size_t i = 0; i < measurements.size(); ++i) {
    const Measurement& m = measurements[i];
    json << (i > 0 ? ",\n  " : "\n  ") << "{\"bytes\": " << m.bytes << ", \"algorithm\": \"" << m.algorithm
         << "\", \"median_us\": " << m.median_us << ", \"p10_us\": " << m.p10_us << ", \"p90_us\": " << m.p90_us
         << ", \"over_mpi\": " << m.over_mpi << "}";
  }
  json << "\n]}\n";
  return json.str();
}

int run(std::span<char*> arguments) {
  const Options options = read_options(arguments);
  const Communicator communicator;
  AllReduceBench bench(communicator, options);
  const bool speaks = communicator.is_root();
  if (speaks) {
    std::printf("%s: %s, %ld cores, %d ranks on %d nodes, %s, waiting %s, %d repetitions\n", host_name().c_str(),
                processor_name().c_str(), sysconf(_SC_NPROCESSORS_ONLN), communicator.size(), communicator.nodes(),
                mpi_version().c_str(), options.wait.c_str(), options.repetitions);
    if (!bench.not_shared_because().empty()) std::printf("no shared window: %s\n", bench.not_shared_because().c_str());
    std::printf("%12s  %-5s %12s %12s %12s %10s\n", "bytes", "", "median us", "p10 us", "p90 us", "MPI/this");
  }
  std::vector<Measurement> all;
  for (const std::int64_t count : bench.sizes()) {
    for (const Measurement& m : bench.measure(count)) {
      if (speaks) {
        std::printf("%12lld  %-5s %12.2f %12.2f %12.2f %10.2f\n", static_cast<long long>(m.bytes), m.algorithm.c_str(),
                    m.median_us, m.p10_us, m.p90_us, m.over_mpi);
        std::fflush(stdout);
      }
      all.push_back(m);
    }
  }
  const bool is_right = communicator.all(bench.wrong_sums() == 0);
  if (speaks) {
    std::printf(is_right ? "all sums verified\n" : "WRONG SUMS\n");
    if (!options.json.empty()) {
      std::ofstream file(options.json);
      file << to_json(all, communicator, options);
      file.close();
      if (!file) {
        throw DataError(
            Fault{.doing = "writing " + options.json, .expected = "", .found = "an error", .remedy = "another path"});
      }
    }
  }
  return is_right ? 0 : 1;
}

}  // namespace
}  // namespace dtrain

int main(int argc, char** argv) {
  try {
    const dtrain::MpiSession session(&argc, &argv);
    try {
      return dtrain::run({argv, static_cast<std::size_t>(argc)});
    } catch (const dtrain::Error& error) {
      std::fprintf(stderr, "bench_allreduce on %s: %s\n", dtrain::host_name().c_str(), error.what());
      dtrain::MpiSession::abort(static_cast<int>(error.exit_code()));
    }
  } catch (const dtrain::Error& error) {
    std::fprintf(stderr, "bench_allreduce: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  }
}
