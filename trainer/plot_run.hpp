// The command `plot`: metrics of runs, also of those under way, as a drawing and a table of epochs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "trainer/run_picture.hpp"

namespace dtrain {

struct PlotConfig {
  std::vector<std::string> runs;  ///< directories of --out, or metrics files
  std::string out;                ///< SVG; empty: plot.svg in the run's directory, or here where there are several
  std::string csv;                ///< empty: as `out`, with this ending
};

/// What a metrics file holds, and what of it was left out, in sentences.
struct ReadRun {
  RunHistory history;
  std::vector<std::string> remarks;
};

/// Errors: DataError: no such file, or no step in it.
ReadRun read_run(const std::string& run);

/// Draws, writes, and says what was written where. Errors: DataError.
std::string plot_runs(const PlotConfig& config);

}  // namespace dtrain
