// What a run says when it has ended: what is best and where it is, how long it took, and the line that evaluates it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "trainer/config.hpp"
#include "trainer/epoch_rows.hpp"

namespace dtrain {

struct RunEnding {
  std::optional<BestEvaluation> best;
  std::string best_file;  ///< empty: there is none
  std::string last_file;  ///< empty: nothing was saved
  std::int64_t steps_done = 0;  ///< what last_file is of; the last row may be of fewer
  std::optional<EpochRow> last;
  double total_s = 0.0;      ///< of this process
  double all_parts_s = 0.0;  ///< of steps and evaluations, of earlier processes too
  bool was_resumed = false;
  std::string evaluation;  ///< evaluation_line(); empty: none
};

/// Lines for people. Pure.
std::vector<std::string> ending_lines(const RunEnding& ending);

/// The command that evaluates weights of this run on its validation images, to be copied into a shell. program: as it was
/// started. Empty: the run has no images. Pure.
std::string evaluation_line(const TrainConfig& config, const std::string& program, int ranks, const std::string& weights);

/// A word as a POSIX shell reads it back: as it is, or in quotes.
std::string quoted_for_shell(std::string_view word);

}  // namespace dtrain
