// The command line as a value: which command, with which configuration.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "dtrain/data.hpp"
#include "trainer/bench_plan.hpp"
#include "trainer/config.hpp"
#include "trainer/plot_run.hpp"

namespace dtrain {

/// A text for stdout and nothing else to do (--help, --version).
struct ShowText {
  std::string text;
};

/// Writes fresh weights.
struct InitConfig {
  std::string model = "resnet50";
  std::int64_t num_classes = 0;  ///< 0: the model's own
  bool aux_heads = false;
  bool zero_init_gamma = false;
  std::uint64_t seed = 1;
  std::string out;  ///< safetensors file
};

/// Lists the networks, or plans the memory of a rank that trains one of them on synthetic pictures.
struct ModelsConfig {
  bool json = false;
  std::string name;               ///< the only one to list; empty: all
  std::string plan;               ///< model to plan; empty: list all
  std::int64_t local_batch = 32;  ///< of the plan, as all below
  std::int64_t num_classes = 0;   ///< 0: the model's own
  std::int64_t crop = 0;          ///< 0: the model's picture size
  bool aux_heads = false;
  std::string precision = "fp32";
  std::string conv = "auto";
  std::string recompute = "off";
};
/// The run that a plan is made for: one rank, one step of one micro-batch.
TrainConfig planned_run(const ModelsConfig& config);

/// Prints where the threads of all ranks would run.
struct TopoConfig {
  int threads = 0;
  int comm_cores = -1;
  std::string bind = "auto";
  int workers = 0;
  int ranks_per_node = 0;
};

/// Renders the demonstration data set.
struct MakeDemoConfig {
  std::string directory;
  DemoOptions options;
  bool force = false;  ///< replaces an earlier one
};

/// Shows what a weight file or checkpoint holds.
struct InspectConfig {
  std::string file;
};

using Command = std::variant<ShowText, TrainConfig, EvalConfig, BenchConfig, InitConfig, ModelsConfig, TopoConfig,
                             MakeDemoConfig, InspectConfig, PlotConfig>;

/// arguments: without the program's name; ranks: as far as the launcher's environment tells.
/// Errors: ConfigError, whose text holds every fault of the line: unknown command or options (with the nearest name), values
/// that cannot be read, and what validate() finds.
Command parse_command_line(const std::vector<std::string>& arguments, int ranks);

}  // namespace dtrain
