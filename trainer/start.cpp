// Shared beginnings; see start.hpp.
#include "trainer/start.hpp"

#include <spdlog/spdlog.h>

#include "dtrain/error.hpp"

namespace dtrain {

void require_valid(const std::vector<std::string>& faults) {
  if (faults.empty()) return;
  std::string text = faults.size() == 1 ? "" : counted(std::ssize(faults), "fault") + " in the options:";
  for (const std::string& fault : faults) text += faults.size() == 1 ? fault : "\n  " + fault;
  throw ConfigError(text);
}

void log_data(const DataSummary& data, const std::vector<std::string>& preparation, const Dataset* looked_at) {
  for (const std::string& line : data_lines(data)) spdlog::info("{}", line);
  for (const std::string& line : preparation) spdlog::info("{}", line);
  for (const std::string& warning : data_warnings(data)) spdlog::warn("{}", warning);
  const std::optional<NarrowRange> narrow = looked_at != nullptr ? find_narrow_range(*looked_at) : std::nullopt;
  if (!narrow) return;
  spdlog::warn("{} is a 16-bit PNG whose values take {} of the 16 bits: the network, which is given the high byte, sees it almost "
               "black; scale such images to the full range, or give them an sBIT chunk",
               narrow->file, narrow->used_bits);
}

int loader_workers(int asked, const Placement& placement) { return asked > 0 ? asked : placement.loader_workers; }

void log_root(const Communicator& communicator, const std::string& message) {
  if (communicator.is_root()) spdlog::info(message);
}

}  // namespace dtrain
