// Shared beginnings; see start.hpp.
#include "trainer/start.hpp"

#include <spdlog/spdlog.h>

#include <fstream>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

std::string list(const char* what, const std::vector<std::string>& names) {
  if (names.empty()) return {};
  constexpr std::size_t kShown = 10;
  std::string text = std::string("; ") + what + " " + std::to_string(names.size()) + ": ";
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > kShown) text += ", …";
  return text;
}

}  // namespace

void require_valid(const std::vector<std::string>& faults) {
  if (faults.empty()) return;
  std::string text = faults.size() == 1 ? "" : counted(std::ssize(faults), "fault") + " in the options:";
  for (const std::string& fault : faults) text += faults.size() == 1 ? fault : "\n  " + fault;
  throw ConfigError(text);
}

std::string describe_import(const ImportReport& report, const std::string& file) {
  return "weights from " + file + ": taken " + counted(std::ssize(report.taken), "tensor") +
         list("re-initialised (other shape)", report.reinitialised) + list("not in the file, fresh", report.missing) +
         list("in the file but not used", report.unused);
}

void warn_of_damaged(const DataFaults& faults, const std::string& pictures) {
  if (faults.count == 0) return;
  spdlog::warn("{} {} replaced by the next readable one:", counted(faults.count, "damaged " + pictures + " picture"), faults.count == 1 ? "was" : "were");
  for (const std::string& message : faults.messages) spdlog::warn("  {}", message);
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
