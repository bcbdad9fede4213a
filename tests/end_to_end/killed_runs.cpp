// Killing, resuming and comparing; see killed_runs.hpp.
#include "tests/end_to_end/killed_runs.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <stdexcept>

#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

struct Undisturbed {
  std::vector<std::string> renames;
  std::map<std::string, std::string> files;
};

/// Of a run's report, status and metrics: what is no function of its options.
const Words kOfTheProcess{// times and speeds
                          "seconds", "step_s", "images_per_s", "phases_s", "exposed_comm_s", "gflops_per_rank", "startup_s",
                          "total_s", "all_parts_s", "data_s", "forward_s", "backward_s", "update_s", "comm_s", "val_s",
                          "started", "time",
                          // memory, which is measured, too
                          "peak_rss_bytes", "planned_bytes", "memory",
                          // the process itself
                          "pid"};

void strip(Json& json) {
  if (json.is_object()) {
    for (const std::string& key : kOfTheProcess) json.erase(key);
  }
  if (!json.is_structured()) return;
  for (auto& element : json) strip(element);
}

/// One JSON value a line, or one in all.
std::string stripped(const std::string& text, bool has_lines) {
  std::istringstream lines(text);
  std::string result;
  for (std::string line; std::getline(lines, line, has_lines ? '\n' : '\0');) {
    Json json = Json::parse(line);
    strip(json);
    result += json.dump() + "\n";
  }
  return result;
}

std::string with_replaced(std::string text, const std::string& from, const std::string& to) {
  for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
    text.replace(at, from.size(), to);
  return text;
}

/// Relative path and contents of all files, comparable between directories.
std::map<std::string, std::string> comparable_files(const fs::path& out) {
  std::map<std::string, std::string> files = contents(out);
  for (const char* name : {"log.txt", ".lock"}) files.erase(name);  // these tell of every attempt
  for (const char* name : {"report.json", "status.json", "metrics.jsonl"}) {
    files[name] = stripped(with_replaced(files[name], out.string(), "OUT"), std::string(name) == "metrics.jsonl");
  }
  return files;
}

Command command(const KillableRun& kind, const fs::path& out, const Words& environment) {
  return {.ranks = kind.ranks,
          .arguments = training_into(out, kind.options + Words{"--global-batch", "16", "--crop", "24", "--resume", "auto"}),
          .environment = environment};
}

Words preloaded(const fs::path& out, const Words& more) {
  return Words{std::string("LD_PRELOAD=") + KILL_AT_RENAME, "RENAMES_BELOW=" + out.string()} + more;
}

const Undisturbed& undisturbed(const KillableRun& kind) {
  static std::map<std::string, Undisturbed> runs;
  const auto [entry, is_new] = runs.try_emplace(kind.name);
  if (!is_new) return entry->second;
  const fs::path out = new_path("undisturbed"), log = new_path("renames");
  const Outcome outcome = run(command(kind, out, preloaded(out, {"RENAME_LOG=" + log.string()})));
  if (outcome.exit_code != 0) throw std::runtime_error("the run to compare with failed: " + outcome.errors);
  std::istringstream lines(read_text(log));
  for (std::string line; std::getline(lines, line);) entry->second.renames.push_back(line);
  entry->second.files = comparable_files(out);
  return entry->second;
}

}  // namespace

const KillableRun& killable_branching_run() {
  static const KillableRun kind{
      .name = "branches",
      .options = {"--ema", "0.5", "--checkpoint-every", "2", "--eval-every", "1", "--stages",
                  "one: steps=4 lr=0.02; a: steps=3 lr=0.01 branch=on; two: steps=2 lr=0.02; b: steps=3 lr=0.01 branch=on"}};
  return kind;
}

const KillableRun& killable_served_run() {
  static const KillableRun kind{
      .name = "parameter servers",
      .ranks = 2,
      .options = {"--allreduce", "ps", "--checkpoint-every", "2", "--eval-every", "3", "--steps", "8"}};
  return kind;
}

const std::vector<std::string>& renames_of(const KillableRun& kind) { return undisturbed(kind).renames; }

void expect_same_files_after_kill(const KillableRun& kind, std::size_t at, const std::string& when) {
  const auto& [renames, expected] = undisturbed(kind);
  SCOPED_TRACE(kind.name + ", killed " + when + " rename " + std::to_string(at) + ", to " + renames.at(at - 1));
  const fs::path out = new_path("killed");

  const Outcome killed = run(command(kind, out, preloaded(out, {"KILL_AT=" + std::to_string(at), "KILL_WHEN=" + when})));
  const Outcome resumed = run(command(kind, out, {}));

  EXPECT_EQ(killed.exit_code, 128 + 9) << killed;
  ASSERT_EQ(resumed.exit_code, 0) << resumed;
  const auto files = comparable_files(out);
  for (const auto& [name, text] : files) EXPECT_TRUE(expected.contains(name)) << name << " should not be there";
  for (const auto& [name, text] : expected) {
    if (!files.contains(name)) {
      ADD_FAILURE() << name << " is missing";
    } else if (name.ends_with(".safetensors")) {
      EXPECT_TRUE(files.at(name) == text) << name << " differs";
    } else {
      EXPECT_EQ(files.at(name), text) << name;
    }
  }
  fs::remove_all(out);
}

}  // namespace dtrain
