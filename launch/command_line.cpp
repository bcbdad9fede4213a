// From words to a command: which one, its table applied, and what the values mean together.
#include "launch/command_line.hpp"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <system_error>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "launch/command_options.hpp"
#include "launch/habits.hpp"
#include "launch/option_table.hpp"
#include "trainer/option_faults.hpp"
#include "trainer/version.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kMostDemoPictures = 1'000'000;  ///< of a class

std::vector<std::string> check_init(const InitConfig& c) {
  Faults faults;
  faults.within(c.num_classes, 0, kMostClasses, "--num-classes");
  if (c.out.empty()) {
    faults.add({.doing = "--out", .expected = "a file to write", .found = "none", .remedy = "--out FILE.safetensors"});
  }
  return faults.take();
}

std::vector<std::string> check_make_demo(const MakeDemoConfig& c) {
  Faults faults;
  faults.within(c.options.train_per_class, 1, kMostDemoPictures, "--train-per-class");
  faults.within(c.options.val_per_class, 1, kMostDemoPictures, "--val-per-class");
  return faults.take();
}

std::vector<std::string> check_models(const ModelsConfig& c) {
  if (!c.name.empty()) {
    std::vector<std::string> names;
    for (const ModelEntry& model : list_models()) names.push_back(model.name);
    const std::string nearest = nearest_name(c.name, names);
    if (std::ranges::find(names, c.name) == names.end()) {
      return {to_text(Fault{.doing = "dtrain models " + c.name,
                            .expected = "the name of a network",
                            .found = "an unknown one",
                            .remedy = nearest.empty() ? "dtrain models" : "dtrain models " + nearest})};
    }
  }
  if (!c.plan.empty()) return validate(planned_run(c), 1);
  const ModelsConfig listing{.json = c.json};
  const bool asks_for_plan = c.local_batch != listing.local_batch || c.num_classes != 0 || c.crop != 0 || c.aux_heads ||
                             c.precision != listing.precision || c.conv != listing.conv || c.recompute != listing.recompute;
  if (!asks_for_plan) return {};
  return {to_text(Fault{.doing = "dtrain models",
                        .expected = "--plan with options of a plan",
                        .found = "no --plan",
                        .remedy = "--plan " + (c.name.empty() ? "MODEL" : c.name)})};
}

std::vector<std::string> check_topo(const TopoConfig& c, int ranks) {
  TrainConfig config;
  config.bind = c.bind;
  config.threads = c.threads;
  config.comm_cores = c.comm_cores;
  config.workers = c.workers;
  config.ranks_per_node = c.ranks_per_node;
  return validate(config, ranks);
}

constexpr const char* kHelpLine = "\n      --help                    This text.\n";

/// Runs one command's table over its arguments. `judge`: faults beyond those of single values.
template <typename Config>
Command parse(OptionTable (*make_table)(Config&), const std::vector<std::string>& arguments,
              const std::function<std::vector<std::string>(const Config&)>& judge) {
  Config config;
  const OptionTable table = make_table(config);
  const auto asks_for_help = [](const std::string& argument) { return argument == "--help" || argument == "-h"; };
  if (std::any_of(arguments.begin(), arguments.end(), asks_for_help)) return ShowText{help_text(table) + kHelpLine};

  std::vector<std::string> faults = apply_arguments(table, arguments);
  if constexpr (requires { config.given; }) {
    for (const std::string& argument : arguments) {
      if (argument.starts_with("--")) config.given.insert(argument.substr(2, argument.find('=') - 2));
    }
  }
  const std::vector<std::string> judged = judge(config);
  faults.insert(faults.end(), judged.begin(), judged.end());
  if (faults.empty()) return config;
  std::string text = table.program + ": " + counted(std::ssize(faults), "fault");
  for (const std::string& fault : faults) text += "\n  " + fault;
  throw ConfigError(text + "\n  All options: " + table.program + " --help");
}

struct CommandEntry {
  std::string name;
  std::string purpose;
};
const std::vector<CommandEntry>& commands() {
  static const std::vector<CommandEntry> entries{
      {"train", "train a network (may be left out)"},
      {"eval", "evaluate weights on pictures"},
      {"bench", "measure training speed"},
      {"init", "write fresh weights"},
      {"models", "list the networks, or plan the memory of a rank"},
      {"topo", "print where the threads of every rank would run"},
      {"make-demo", "render a small data set"},
      {"inspect", "show what a weight file or checkpoint holds"},
      {"plot", "draw loss, accuracy and rate of runs"},
  };
  return entries;
}

std::string overview() {
  std::string text = "Trains convolutional networks on CPU clusters.\n\nCommands (each has its own --help):\n";
  for (const CommandEntry& entry : commands()) {
    text += "  dtrain " + entry.name + std::string(12 - entry.name.size(), ' ') + entry.purpose + "\n";
  }
  text += "  dtrain help COMMAND   all options of a command\n  dtrain --version\n\n";
  TrainConfig config;
  return text + help_text(train_table(config)) + kHelpLine;
}

[[noreturn]] void refuse_command(const std::string& name) {
  std::vector<std::string> names;
  std::string known;
  for (const CommandEntry& entry : commands()) {
    names.push_back(entry.name);
    known += (known.empty() ? "" : ", ") + entry.name;
  }
  const std::string nearest = nearest_name(name, names);
  std::error_code error;
  std::string remedy = habitual_command(name, std::filesystem::is_directory(name, error));
  if (remedy.empty()) remedy = nearest.empty() ? "dtrain --help" : "dtrain " + nearest;
  throw ConfigError(Fault{.doing = "dtrain " + name,
                          .expected = "a command (" + known + ") or options, which begin with --",
                          .found = "'" + name + "'",
                          .remedy = std::move(remedy)});
}

}  // namespace

TrainConfig planned_run(const ModelsConfig& config) {
  TrainConfig run;
  run.model = config.plan;
  run.num_classes = config.num_classes;
  run.crop = config.crop;
  run.aux_heads = config.aux_heads;
  run.precision = config.precision;
  run.conv = config.conv;
  run.recompute = config.recompute;
  run.global_batch = run.local_batch = config.local_batch;
  run.steps = 1;
  return run;
}

Command parse_command_line(const std::vector<std::string>& arguments, int ranks) {
  const auto begins_with = [&](std::initializer_list<const char*> words) {
    return std::ranges::find(words, arguments.front()) != words.end();
  };
  if (arguments.empty()) return ShowText{overview()};
  if (begins_with({"--help", "-h", "help"})) {
    const bool names_one = arguments.size() > 1 && !arguments[1].starts_with("-");
    return names_one && arguments[1] != "help" ? parse_command_line({arguments[1], "--help"}, ranks) : ShowText{overview()};
  }
  if (begins_with({"--version", "-V", "-v", "version"})) return ShowText{"dtrain " + version_text() + "\n"};

  const bool names_command = !arguments.front().starts_with("-");
  const std::string name = names_command ? arguments.front() : "train";
  const std::vector<std::string> rest(arguments.begin() + (names_command ? 1 : 0), arguments.end());
  const auto no_more = [](const auto&) { return std::vector<std::string>{}; };
  if (name == "train") return parse<TrainConfig>(train_table, rest, [&](const auto& c) { return validate(c, ranks); });
  if (name == "eval") return parse<EvalConfig>(eval_table, rest, [&](const auto& c) { return validate(c, ranks); });
  if (name == "bench") return parse<BenchConfig>(bench_table, rest, [&](const auto& c) { return validate(c, ranks); });
  if (name == "init") return parse<InitConfig>(init_table, rest, check_init);
  if (name == "models") return parse<ModelsConfig>(models_table, rest, check_models);
  if (name == "topo") return parse<TopoConfig>(topo_table, rest, [&](const auto& c) { return check_topo(c, ranks); });
  if (name == "make-demo") return parse<MakeDemoConfig>(make_demo_table, rest, check_make_demo);
  if (name == "inspect") return parse<InspectConfig>(inspect_table, rest, no_more);
  if (name == "plot") return parse<PlotConfig>(plot_table, rest, no_more);
  refuse_command(name);
}

}  // namespace dtrain
