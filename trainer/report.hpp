// The one JSON object at the end of a run.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "trainer/ensemble.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/metrics.hpp"
#include "trainer/rank_memory.hpp"
#include "trainer/run_ending.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/step_statistics.hpp"

namespace dtrain {

struct RunReport {
  const RunPlan* plan = nullptr;
  StepStatistics steps;                    ///< of this process's run
  DamagedImages damaged;                   ///< of training
  std::vector<std::string> members;        ///< files of weights that branches left
  std::optional<EnsembleResult> ensemble;  ///< of those
  std::string allreduce;
  int threads_per_rank = 1;
  RankMemory memory;
  std::int64_t parameters = 0;
  std::uint64_t fingerprint = 0;
  std::string placement;
  std::vector<std::string> command;
  EpochRows epochs;  ///< of all parts of the run, as far as its metrics tell
  RunEnding ending;
  double startup_s = 0.0;  ///< from the program's start to the first step
};

/// As reports have it.
nlohmann::ordered_json preprocessing_json(const Preprocessing& preprocessing);

/// Gathers what only the ranks know (peak memory), and writes on the root. Collective. Errors: DataError.
void write_report(const std::filesystem::path& path, const RunReport& report, const Communicator& communicator);

/// Whether the file is the whole report of a run that had done so many steps and had these weights.
bool is_report_of(const std::filesystem::path& path, std::int64_t steps, std::uint64_t fingerprint, bool has_ensemble);

}  // namespace dtrain
