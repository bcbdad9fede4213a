// A run epoch by epoch: what its steps add up to, and what validation said, over all parts of a run that was resumed.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "trainer/metrics_lines.hpp"

namespace dtrain {

struct EpochRow {
  double epoch = 0.0;       ///< done after its last step: whole, or where a stage ended
  std::int64_t step = 0;    ///< its last
  std::string stage;        ///< empty in a run of one
  bool is_partial = false;  ///< steps at its beginning are not known
  std::int64_t samples = 0;
  double loss = 0.0;  ///< mean over these samples, as below
  double top1 = 0.0;
  double learning_rate = 0.0;               ///< of the last step
  double seconds = 0.0;                     ///< of its steps and evaluations
  std::optional<MetricsLine> validation{};  ///< the last one in it
  bool is_best = false;                     ///< that one is the best so far
};

struct BestEvaluation {
  double top1 = 0.0;
  double epoch = 0.0;
  std::int64_t step = 0;  ///< 0: not known, in an earlier part of the run
};

/// Whether an epoch ends there.
bool is_whole_epoch(double epoch);

class EpochRows {
 public:
  /// In order. A row ends with its epoch, and where the next step is of another stage.
  void add(const MetricsLine& line);
  /// Of what comes before the next step, something is not known.
  void mark_partial() { begins_partial_ = true; }
  /// An evaluation that the lines do not tell of, when and where is not known, was as good as this.
  void mark_earlier_best(double top1);
  /// The best so far is of other images: the next evaluation is the best again.
  void forget_best() { best_.reset(); }
  /// Ends the row of the steps so far. Result: it; nullptr: there are none.
  const EpochRow* end_row();

  /// Those that have ended.
  std::span<const EpochRow> rows() const { return rows_; }
  const std::optional<BestEvaluation>& best() const { return best_; }
  std::int64_t last_step() const { return last_step_; }
  // As far as the lines tell:
  const std::optional<MetricsLine>& first_of_steps() const { return first_of_steps_; }
  const std::optional<MetricsLine>& last_of_steps() const { return last_of_steps_; }
  const std::optional<MetricsLine>& last_validation() const { return last_validation_; }
  /// Of all steps and evaluations.
  double seconds() const { return seconds_; }

 private:
  std::vector<EpochRow> rows_;
  std::optional<EpochRow> open_;
  double loss_sum_ = 0.0, top1_sum_ = 0.0;  ///< of the open row, by samples
  bool begins_partial_ = false;
  std::optional<BestEvaluation> best_;
  std::int64_t last_step_ = 0;
  std::optional<MetricsLine> first_of_steps_, last_of_steps_, last_validation_;
  double seconds_ = 0.0;
};

/// "epoch 3.00: training loss 1.2345, top-1 45.60 %; validation top-1 50.00 %, top-5 90.00 %, loss 1.1000; 12.3 s (best so
/// far)".
std::string epoch_text(const EpochRow& row);
/// "validation top-1 50.00 %, top-5 90.00 %, loss 1.1000".
std::string validation_text(const MetricsLine& validation);
/// For reports: null where there is none. file: empty: nothing was saved.
nlohmann::ordered_json best_json(const std::optional<BestEvaluation>& best, const std::string& file);
/// For reports: an array of objects.
nlohmann::ordered_json epochs_json(std::span<const EpochRow> rows);
/// A table with a heading; empty fields where nothing is known.
std::string epochs_csv(std::span<const EpochRow> rows);

}  // namespace dtrain
