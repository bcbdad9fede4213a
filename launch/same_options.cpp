// Comparing options; see same_options.hpp.
#include "launch/same_options.hpp"

#include <algorithm>
#include <array>
#include <string_view>

#include "collectives/first_words.hpp"
#include "dtrain/error.hpp"
#include "launch/command_options.hpp"
#include "launch/option_table.hpp"

namespace dtrain {
namespace {

/// Those that each rank follows by itself: where its host has the files, which are compared by what is in them, and how many
/// threads the host has room for. All others decide when ranks meet, what they say to each other, or what rank 0 does for all.
constexpr std::array<std::string_view, 6> kMayDiffer{"data", "val-data", "class-indices", "threads", "workers", "comm-cores"};

template <typename Config>
std::vector<Communicator::NamedValue> values_of(OptionTable (*make_table)(Config&), Config config) {
  const OptionTable table = make_table(config);
  std::vector<Communicator::NamedValue> values{{.name = "command", .value = table.program}};
  for (const OptionValue& option : option_values(table)) {
    if (std::ranges::find(kMayDiffer, option.name) != kMayDiffer.end()) continue;
    values.push_back({.name = "--" + option.name, .value = option.value});
  }
  return values;
}

}  // namespace

std::vector<Communicator::NamedValue> common_options(const TrainConfig& config) { return values_of(train_table, config); }
std::vector<Communicator::NamedValue> common_options(const EvalConfig& config) { return values_of(eval_table, config); }
std::vector<Communicator::NamedValue> common_options(const BenchConfig& config) { return values_of(bench_table, config); }
std::vector<Communicator::NamedValue> common_options(const ModelsConfig& config) { return values_of(models_table, config); }
std::vector<Communicator::NamedValue> common_options(const TopoConfig& config) { return values_of(topo_table, config); }

void require_same_options(const std::vector<Communicator::NamedValue>& options) {
  const std::string differences = find_different_words(options);
  if (differences.empty()) return;
  throw ConfigError(Fault{.doing = "comparing the options of the ranks",
                          .expected = "the same on every rank",
                          .found = differences,
                          .remedy = "one command line for all ranks"});
}

}  // namespace dtrain
