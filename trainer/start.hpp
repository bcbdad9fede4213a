// What training and evaluation do alike before the first batch.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/data.hpp"
#include "trainer/data_summary.hpp"
#include "trainer/placement.hpp"

namespace dtrain {

/// Throws one ConfigError with all faults when there are any.
void require_valid(const std::vector<std::string>& faults);

/// Loader threads of a rank: --workers, or where it is not given (0) as many as the placement suggests.
int loader_workers(int asked, const Placement& placement);

/// Logs what the run's images are, and warns of what may be other than it seems. For the root.
/// preparation  lines that follow the summary's
/// looked_at    of whose files some are opened, to find those that are almost black; null: none
void log_data(const DataSummary& data, const std::vector<std::string>& preparation, const Dataset* looked_at);

/// Logs on the root alone.
void log_root(const Communicator& communicator, const std::string& message);

}  // namespace dtrain
