// What `bench` found, as people read it (lines while it measures, in the manner of tf_cnn_benchmarks, and a table at the end)
// and as programs do (JSON, CSV). Makes texts; prints and writes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "trainer/bench_plan.hpp"
#include "trainer/local_batch.hpp"
#include "trainer/metrics.hpp"

namespace dtrain {

/// Of one combination, all ranks together. Where it did not fit, `excess` says so and the rest means nothing.
struct BenchResult {
  Combination combination;
  std::optional<BatchExcess> excess;
  std::int64_t global_batch = 0;
  Throughput throughput;
  double gflops = 0.0;            ///< floating-point operations of training, 10⁹ a second
  double loss = 0.0;              ///< of the last step
  std::size_t planned_bytes = 0;  ///< peak memory of a rank, of the one that plans most
};

/// Where and how all of it was measured.
struct BenchSetting {
  int ranks = 1;
  int nodes = 1;
  int threads_per_rank = 1;
  std::string cpu;
  std::string host;
  std::string placement;
  std::string allreduce;  ///< that `auto` came to; empty: nothing ran
  std::vector<std::string> command;
};

/// "needs 88.10 GB a rank, has 21.00 GB; largest batch that fits: 3400".
std::string reason_text(const BatchExcess& excess);

// The lines of one combination, each with its end; from the columns on, those of tf_cnn_benchmarks, which scripts parse.
std::string heading_text(const Combination& combination, int ranks);
inline constexpr const char* kStepColumns = "Step\tImg/sec\ttotal_loss\n";
std::string step_line(std::int64_t step, const Throughput& so_far, double loss);
std::string skipped_line(const BatchExcess& excess);

/// Whether a measured step, counted from 1, has a line: the first, every tenth and the last.
bool has_line(std::int64_t step, std::int64_t steps);

std::string results_table(const std::vector<BenchResult>& results);
/// One object: machine, versions, host, options, command and a list "results".
std::string results_as_json(const BenchConfig& config, const BenchSetting& setting, const std::vector<BenchResult>& results);
/// A heading and a line for each combination; figures of skipped ones are empty.
std::string results_as_csv(const BenchSetting& setting, const std::vector<BenchResult>& results);

}  // namespace dtrain
