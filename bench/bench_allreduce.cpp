// All-reduce algorithms against MPI_Allreduce and against the cost model, in one program, interleaved, every result checked.
//   mpirun -np 2 bench_allreduce [--algorithms shm,ring] [--bytes 1K,1M,102228128] [--repetitions 15] [--ranks-per-node N] …
// For each size and algorithm: median and 99th percentile of the slowest rank's time; algbw, the slice's bytes by that time;
// busbw, algbw × 2(ranks−1)/ranks, which is comparable over rank counts; the time that the cost model predicts from rates
// measured in the same process; MPI's median divided by this one's. "loop" is a plain loop over private memory that reads and
// writes as many bytes as shm does. Exits with 1 when a sum is wrong.
#include <mpi.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <ctime>
#include <cxxopts.hpp>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/exchange_rates.hpp"
#include "collectives/all_reduce.hpp"
#include "collectives/communicator.hpp"
#include "collectives/mpi_handles.hpp"
#include "collectives/node_window.hpp"
#include "dtrain/error.hpp"
#include "schedules/exchange_cost.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  std::vector<std::int64_t> elements;
  std::vector<AllReduceAlgorithm> algorithms;  ///< empty: all that can be had
  int repetitions = 15;
  int ranks_per_node = 0;
  WireType wire = WireType::fp32;
  WaitPolicy wait = kPoliteWait;
  std::string wait_name;
  bool alone = false;
  std::string json;
};

struct Measurement {
  std::string algorithm;
  double p50_s = 0.0;
  double p99_s = 0.0;
  double cpu_s = 0.0;        ///< of a rank's core, on the rank that takes most: what the exchange costs beside computing
  double predicted_s = 0.0;  ///< 0: not
};

/// "64K", "16M", "102228128".
std::int64_t parse_elements(const std::string& text) {
  std::size_t end = 0;
  std::int64_t bytes = 0;
  try {
    bytes = std::stoll(text, &end);
  } catch (const std::exception&) {
    end = std::string::npos;
  }
  const std::string unit = end == std::string::npos ? "?" : text.substr(end);
  if (unit == "K") bytes <<= 10;
  if (unit == "M") bytes <<= 20;
  if (bytes < 4 || !(unit.empty() || unit == "K" || unit == "M")) {
    throw ConfigError(Fault{.doing = "reading --bytes",
                            .expected = "sizes from 4 such as 1K, 16M, 102228128",
                            .found = "'" + text + "'",
                            .remedy = "--bytes 1K,1M"});
  }
  return bytes / 4;
}

Options read_options(int argc, char** argv) {
  cxxopts::Options known("bench_allreduce", "All-reduce algorithms against MPI_Allreduce and the cost model.");
  using Texts = std::vector<std::string>;
  known.add_options()  //
      ("bytes", "sizes; 102228128 is ResNet-50's gradients",
       cxxopts::value<Texts>()->default_value("1K,4K,16K,64K,256K,1M,4M,16M,102228128"))                                    //
      ("algorithms", "shm, ring, halving-doubling, hierarchical", cxxopts::value<Texts>()->default_value(""))               //
      ("repetitions", "of each size", cxxopts::value<int>()->default_value("15"))                                           //
      ("ranks-per-node", "so many ranks count as a node; 0: those on one host", cxxopts::value<int>()->default_value("0"))  //
      ("wire-dtype", "fp32|bf16", cxxopts::value<std::string>()->default_value("fp32"))                                     //
      ("wait", "polite|eager", cxxopts::value<std::string>()->default_value("polite"))                                      //
      ("alone", "measures nothing else: no MPI_Allreduce, no loop, no rates; says what the plans send between nodes")       //
      ("json", "file", cxxopts::value<std::string>()->default_value(""))("help", "this text");
  Options options;
  try {
    const cxxopts::ParseResult given = known.parse(argc, argv);
    if (given.count("help") > 0) throw ConfigError(known.help());
    for (const std::string& text : given["bytes"].as<Texts>()) options.elements.push_back(parse_elements(text));
    for (const std::string& name : given["algorithms"].as<Texts>()) {
      if (!name.empty()) options.algorithms.push_back(parse_all_reduce(name));
    }
    options.repetitions = std::max(1, given["repetitions"].as<int>());
    options.ranks_per_node = given["ranks-per-node"].as<int>();
    options.wire = parse_wire_type(given["wire-dtype"].as<std::string>());
    options.wait_name = given["wait"].as<std::string>();
    options.alone = given.count("alone") > 0;
    options.json = given["json"].as<std::string>();
  } catch (const cxxopts::exceptions::exception& fault) {
    throw ConfigError(
        Fault{.doing = "reading the options", .expected = "those of --help", .found = fault.what(), .remedy = "--help"});
  }
  if (options.wait_name != "polite" && options.wait_name != "eager") {
    throw ConfigError(
        Fault{.doing = "--wait", .expected = "polite or eager", .found = options.wait_name, .remedy = "--wait polite"});
  }
  if (options.wait_name == "eager") options.wait = kEagerWait;
  return options;
}

/// Element i of a rank's contribution: small integers, exact in bf16 too, and so are their sums over up to 16 ranks in any
/// order.
float contribution(int rank, std::int64_t i) { return static_cast<float>((i + rank) % 5 + rank % 8); }

class AllReduceBench {
 public:
  AllReduceBench(const Communicator& communicator, const Options& options)
      : communicator_(communicator),
        options_(options),
        most_(*std::max_element(options.elements.begin(), options.elements.end())),
        window_(communicator, most_),
        loop_(most_),
        cluster_(cluster_of(communicator)),
        rates_(options.alone ? ExchangeRates{} : measure_exchange_rates(communicator, window_, options.wait)) {
    if (!options.alone) add(AllReduceAlgorithm::mpi);  // first: what others are compared with
    for (const AllReduceAlgorithm algorithm : options.algorithms.empty() ? available() : options.algorithms) add(algorithm);
    expected_.resize(static_cast<std::size_t>(most_));
    given_.resize(static_cast<std::size_t>(most_));
    for (std::int64_t i = 0; i < most_; ++i) {
      given_[static_cast<std::size_t>(i)] = contribution(communicator.rank(), i);
      for (int rank = 0; rank < communicator.size(); ++rank) expected_[static_cast<std::size_t>(i)] += contribution(rank, i);
    }
  }

  const std::string& not_shared_because() const { return window_.reason(); }
  const ExchangeRates& rates() const { return rates_; }
  std::int64_t wrong_sums() const { return wrong_sums_; }
  /// What all calls together have sent out of the busiest node, as planned; MPI's not counted. Collective.
  std::int64_t planned_bytes_out_of_a_node() const {
    std::vector<double> by_node(static_cast<std::size_t>(communicator_.nodes()), 0.0);
    by_node[static_cast<std::size_t>(communicator_.node_index())] = static_cast<double>(planned_bytes_);
    communicator_.sum(by_node);
    return static_cast<std::int64_t>(*std::max_element(by_node.begin(), by_node.end()));
  }

  /// One size, algorithms in turn. Result: one measurement per algorithm, and one of the plain loop, on every rank.
  std::vector<Measurement> measure(std::int64_t count) {
    constexpr int kWarmUps = 2;
    // Several short calls a repetition.
    const int calls = static_cast<int>(std::clamp<std::int64_t>(262144 / count, 1, 100));
    std::vector<int> prepared;
    prepared.reserve(algorithms_.size());
    for (AllReduce& algorithm : algorithms_) prepared.push_back(algorithm.prepare({0, count}));
    std::vector<std::vector<double>> times_s(algorithms_.size() + (options_.alone ? 0 : 1)), cpu_s(times_s.size());
    for (int repetition = -kWarmUps; repetition < options_.repetitions; ++repetition) {
      for (std::size_t i = 0; i < times_s.size(); ++i) {
        for (int call = 0; call < calls; ++call) {
          const CallTimes times = i < algorithms_.size() ? time_call(algorithms_[i], prepared[i], count) : time_loop(count);
          if (repetition < 0) continue;
          times_s[i].push_back(times.elapsed_s);
          cpu_s[i].push_back(times.cpu_s);
        }
      }
    }
    std::vector<Measurement> measurements;
    for (std::size_t i = 0; i < times_s.size(); ++i) {
      const std::vector<double> slowest_s = slowest(communicator_, times_s[i]);
      Measurement measurement{.algorithm = "loop",
                              .p50_s = percentile(slowest_s, 0.5),
                              .p99_s = percentile(slowest_s, 0.99),
                              .cpu_s = percentile(slowest(communicator_, cpu_s[i]), 0.5)};
      if (i < algorithms_.size()) {
        const AllReduceAlgorithm algorithm = algorithms_[i].algorithm(prepared[i]);
        measurement.algorithm = to_text(algorithm);
        if (algorithm != AllReduceAlgorithm::mpi) {
          measurement.predicted_s = predict_all_reduce_s(algorithm, count, cluster_, rates_, wire_bytes(options_.wire));
        }
      }
      measurements.push_back(measurement);
    }
    return measurements;
  }

 private:
  /// Those that this cluster offers.
  std::vector<AllReduceAlgorithm> available() const {
    std::vector<AllReduceAlgorithm> algorithms;
    const bool all_share = communicator_.all(window_.is_shared());
    const bool sends_values = options_.wire == WireType::fp32;
    if (all_share && communicator_.nodes() == 1 && sends_values) algorithms.push_back(AllReduceAlgorithm::shm);
    algorithms.push_back(AllReduceAlgorithm::ring);
    algorithms.push_back(AllReduceAlgorithm::halving_doubling);
    if (all_share && communicator_.nodes() > 1) algorithms.push_back(AllReduceAlgorithm::hierarchical);
    return algorithms;
  }

  void add(AllReduceAlgorithm algorithm) {
    const WireType wire = algorithm == AllReduceAlgorithm::mpi ? WireType::fp32 : options_.wire;
    algorithms_.emplace_back(communicator_, window_, choose_algorithms(algorithm, communicator_, window_, wire), wire,
                             options_.wait);
  }

  /// Seconds of one call on this rank.
  struct CallTimes {
    double elapsed_s = 0.0;
    double cpu_s = 0.0;  ///< of this process, its MPI library's threads included
  };

  static double cpu_seconds() {
    timespec spent{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return static_cast<double>(spent.tv_sec) + 1e-9 * static_cast<double>(spent.tv_nsec);
  }

  /// Before each call every rank writes its contribution, as a backward pass does, so that the data lie
  /// in the caches of the ranks that made them; then all start together.
  CallTimes time_call(AllReduce& all_reduce, int prepared, std::int64_t count) {
    const auto slice = window_.own().first(static_cast<std::size_t>(count));
    std::copy_n(given_.begin(), count, slice.begin());
    check_mpi(MPI_Barrier(communicator_.handles().world), "MPI_Barrier");
    const double begin_s = MPI_Wtime();
    const double begin_cpu_s = cpu_seconds();
    all_reduce.run(prepared);
    const CallTimes times{.elapsed_s = MPI_Wtime() - begin_s, .cpu_s = cpu_seconds() - begin_cpu_s};
    planned_bytes_ += all_reduce.bytes_to_other_nodes(prepared);
    wrong_sums_ += std::equal(slice.begin(), slice.end(), expected_.begin()) ? 0 : 1;
    return times;
  }

  CallTimes time_loop(std::int64_t count) {
    check_mpi(MPI_Barrier(communicator_.handles().world), "MPI_Barrier");
    const double time_s = loop_.seconds(count);
    return {.elapsed_s = time_s, .cpu_s = time_s};
  }

  const Communicator& communicator_;
  const Options& options_;
  std::int64_t most_;
  NodeWindow window_;
  MemoryLoop loop_;
  Cluster cluster_;
  ExchangeRates rates_;
  std::vector<AllReduce> algorithms_;  // MPI first
  std::vector<float> given_;
  std::vector<float> expected_;
  std::int64_t wrong_sums_ = 0;
  std::int64_t planned_bytes_ = 0;  ///< of all calls, from this rank to other nodes
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

void write_json(const std::string& path, const Json& document) {
  std::ofstream file(path);
  file << document.dump(1) << "\n";
  file.close();
  if (file) return;
  throw DataError(Fault{.doing = "writing " + path, .expected = "room for it", .found = "an error", .remedy = "another path"});
}

int run(int argc, char** argv) {
  const Options options = read_options(argc, argv);
  const Communicator communicator(options.ranks_per_node);
  AllReduceBench bench(communicator, options);
  const bool speaks = communicator.is_root();
  const ExchangeRates& rates = bench.rates();
  Json document{{"host", host_name()},
                {"processor", processor_name()},
                {"cores", sysconf(_SC_NPROCESSORS_ONLN)},
                {"ranks", communicator.size()},
                {"nodes", communicator.nodes()},
                {"mpi", mpi_version()},
                {"wait", options.wait_name},
                {"wire_dtype", to_text(options.wire)},
                {"repetitions", options.repetitions},
                {"rates",
                 {{"link_latency_s", rates.link_latency_s},
                  {"link_bytes_per_s", rates.link_bytes_per_s},
                  {"node_latency_s", rates.node_latency_s},
                  {"node_bytes_per_s", rates.node_bytes_per_s},
                  {"memory_bytes_per_s", rates.memory_bytes_per_s}}},
                {"results", Json::array()}};
  if (speaks) {
    std::printf("%s: %s, %ld cores, %d ranks on %d nodes, %s, waiting %s, wire %s, %d repetitions\n", host_name().c_str(),
                processor_name().c_str(), sysconf(_SC_NPROCESSORS_ONLN), communicator.size(), communicator.nodes(),
                mpi_version().c_str(), options.wait_name.c_str(), to_text(options.wire), options.repetitions);
    if (!bench.not_shared_because().empty()) std::printf("no shared window: %s\n", bench.not_shared_because().c_str());
    if (communicator.nodes() > 1) {
      std::printf("between nodes %.1f us, %.3f GB/s; ", rates.link_latency_s * 1e6, rates.link_bytes_per_s / 1e9);
    }
    std::printf("in a node %.1f us, %.1f GB/s, memory %.1f GB/s\n", rates.node_latency_s * 1e6, rates.node_bytes_per_s / 1e9,
                rates.memory_bytes_per_s / 1e9);
    std::printf("%12s  %-16s %12s %12s %12s %9s %9s %12s %9s %9s\n", "bytes", "algorithm", "p50 us", "p99 us", "cpu us",
                "algbw", "busbw", "predicted us", "/measured", "vs MPI");
  }
  const double bus_share = 2.0 * (communicator.size() - 1) / communicator.size();
  for (const std::int64_t count : options.elements) {
    const std::vector<Measurement> measurements = bench.measure(count);
    const double bytes = static_cast<double>(count) * sizeof(float);
    for (const Measurement& m : measurements) {
      const double algbw = bytes / m.p50_s / 1e9;
      const double over_mpi = measurements.front().p50_s / m.p50_s;
      document["results"].push_back({{"bytes", count * 4},
                                     {"algorithm", m.algorithm},
                                     {"p50_s", m.p50_s},
                                     {"p99_s", m.p99_s},
                                     {"cpu_s", m.cpu_s},
                                     {"algbw_gb_per_s", algbw},
                                     {"busbw_gb_per_s", algbw * bus_share},
                                     {"predicted_s", m.predicted_s},
                                     {"over_mpi", over_mpi}});
      if (!speaks) continue;
      std::printf("%12lld  %-16s %12.2f %12.2f %12.2f %9.3f %9.3f ", static_cast<long long>(count * 4), m.algorithm.c_str(),
                  m.p50_s * 1e6, m.p99_s * 1e6, m.cpu_s * 1e6, algbw, algbw * bus_share);
      if (m.predicted_s > 0.0) std::printf("%12.2f %9.2f ", m.predicted_s * 1e6, m.predicted_s / m.p50_s);
      if (m.predicted_s <= 0.0) std::printf("%12s %9s ", "", "");
      std::printf("%9.2f\n", over_mpi);
      std::fflush(stdout);
    }
  }
  const std::int64_t planned_bytes = bench.planned_bytes_out_of_a_node();
  document["planned_bytes_out_of_a_node"] = planned_bytes;
  if (speaks && communicator.nodes() > 1) {
    std::printf("planned: %lld bytes out of a node, in all calls but MPI's\n", static_cast<long long>(planned_bytes));
  }
  const bool is_right = communicator.all(bench.wrong_sums() == 0);
  if (speaks) {
    std::printf(is_right ? "all sums verified\n" : "WRONG SUMS\n");
    if (!options.json.empty()) write_json(options.json, document);
  }
  return is_right ? 0 : 1;
}

}  // namespace
}  // namespace dtrain

int main(int argc, char** argv) {
  try {
    const dtrain::MpiSession session(&argc, &argv);
    try {
      return dtrain::run(argc, argv);
    } catch (const dtrain::Error& error) {
      std::fprintf(stderr, "bench_allreduce on %s: %s\n", dtrain::host_name().c_str(), error.what());
      dtrain::MpiSession::abort(static_cast<int>(error.exit_code()));
    }
  } catch (const dtrain::Error& error) {
    std::fprintf(stderr, "bench_allreduce: %s\n", error.what());
    return static_cast<int>(error.exit_code());
  }
}
