// What a run writes about itself: a line a step in a JSON-lines file, and throughput statistics.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include "trainer/epoch_rows.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/trainer.hpp"

namespace dtrain {

/// Statistics of images per second, in the manner of tf_cnn_benchmarks.
struct Throughput {
  double mean = 0.0;  ///< all images / all time
  double median = 0.0;
  double uncertainty = 0.0;  ///< standard deviation of the steps' rates / √steps
  double jitter = 0.0;       ///< 1.4826·median|x − median| of them: a standard deviation that outliers do not move
  double step_median_s = 0.0, step_p10_s = 0.0, step_p90_s = 0.0;
};

inline constexpr std::int64_t kMostWarmupSteps = 10;
/// Steps at the start of a run (after compiling or resuming) that statistics leave out: a fifth of the run, at most 10, at
/// least one when there are two or more.
std::int64_t warmup_steps_of(std::int64_t steps);
/// Pure. Of all these steps; zeros when there are none.
Throughput throughput_of(std::span<const StepReport> steps);
/// The line with which a measured run ends, and which people's scripts look for.
std::string total_line(const Throughput& throughput);

/// Metrics file: one JSON object a line, flushed with every log line and before a checkpoint. Lines of steps after `first_step`
/// are dropped when a run resumes, as is half a line at the end, so that the file holds every step once; so are, with a
/// warning, lines that are no objects. Errors: DataError (cannot open, cannot write).
class MetricsFile {
 public:
  /// Does nothing when path is empty. earlier: is given the lines that the file keeps.
  MetricsFile(const std::filesystem::path& path, std::int64_t first_step, EpochRows* earlier = nullptr);
  /// "loss" and "top1" are the main output's; "aux_loss" stands beside them where the network has auxiliary heads.
  /// "stage" is written where it has a name.
  void write(const StepReport& report, const std::string& stage);
  /// Of the validation pictures, after a step.
  void write_evaluation(const StepReport& step, const EvaluationResult& result, const std::string& stage);
  void flush();
  /// So that no step of a checkpoint is missing, also after a power cut.
  void flush_to_disk();

 private:
  void keep_lines(std::int64_t first_step, EpochRows* earlier) const;
  void write_line(const std::string& line);
  std::filesystem::path path_;
  std::ofstream file_;
};

/// Peak resident memory of this process.
std::int64_t peak_rss_bytes();

}  // namespace dtrain
