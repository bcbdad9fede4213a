// What has become of a run, as OUT/status.json tells scripts: an exit code does not always survive the launcher.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dtrain {

enum class RunState { running, done, stopped, failed };

/// A run that is killed leaves `running`: then no process `pid` is on `host`, and its lock is free.
struct RunStatus {
  RunState state = RunState::running;
  std::optional<int> exit_code{};  ///< once it has ended
  std::int64_t step = 0;           ///< steps that are done and saved
  std::int64_t total_steps = 0;    ///< 0: not known yet
  double epoch = 0.0;              ///< after these steps
  std::string reason{};            ///< why it ended
  int ranks = 1;
  std::string host{};  ///< rank 0's
  std::int64_t pid = 0;
  std::string started{};  ///< UTC, as all times: "2030-01-31T23:59:59Z"
  std::string time{};     ///< when this was written
  std::string version{};
  std::vector<std::string> command{};
};

/// One JSON object. state, exit_code (null while it runs), step, …: the names above.
std::string status_json(const RunStatus& status);

/// None where a text is not such an object.
std::optional<RunStatus> parse_status(const std::string& text);

/// Now, as RunStatus has it.
std::string utc_now();

}  // namespace dtrain
