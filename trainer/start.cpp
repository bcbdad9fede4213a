// Shared beginnings; see start.hpp.
#include "trainer/start.hpp"

#include <spdlog/spdlog.h>

#include <fstream>

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

void require_writable_file(const std::filesystem::path& path, const std::string& option) {
  if (path.empty()) return;
  std::ofstream file(path, std::ios::app);
  if (file) return;
  throw DataError(Fault{.doing = "opening " + path.string() + " (" + option + ")",
                        .expected = "a file that can be written",
                        .found = "an error of the file system (no such directory, read-only, or not permitted)",
                        .remedy = "another path, or create the directory"});
}

int loader_workers(int asked, const Placement& placement) { return asked > 0 ? asked : placement.loader_workers; }

void log_root(const Communicator& communicator, const std::string& message) {
  if (communicator.is_root()) spdlog::info(message);
}

}  // namespace dtrain
