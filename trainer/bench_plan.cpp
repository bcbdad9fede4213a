// Lists, combinations and their runs; see bench_plan.hpp.
#include "trainer/bench_plan.hpp"

#include <algorithm>
#include <charconv>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kMostSteps = 1'000'000;

/// So small that no network diverges while it is measured, and speed does not depend on it.
constexpr double kHarmlessRate = 1e-3;

void refuse(const std::string& text, const std::string& expected, const std::string& found) {
  throw ConfigError(Fault{.doing = "reading the list '" + text + "'", .expected = expected, .found = found});
}

std::string in_quotes(const std::string& text) { return "'" + text + "'"; }

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const ModelEntry& model : list_models()) names.push_back(model.name);
  return names;
}

bool is_known_model(const std::string& name) {
  try {
    model_entry(name);  // knows aliases too
    return true;
  } catch (const ConfigError&) {
    return false;
  }
}

/// What one name or number of an option may be.
struct Part {
  const char* option;
  std::string expected;
  std::vector<std::string> known;  ///< to find the nearest
};

std::string unknown_part(const Part& part, const std::string& found) {
  const std::string nearest = nearest_name(found, part.known);
  return to_text(Fault{.doing = part.option,
                       .expected = part.expected,
                       .found = in_quotes(found),
                       .remedy = nearest.empty() ? "" : std::string(part.option) + " " + nearest});
}

/// The parts of a list that are known; the others, and what is wrong with the list itself, become faults.
template <typename IsKnown>
std::vector<std::string> known_parts(const std::string& text, const Part& part, IsKnown is_known,
                                     std::vector<std::string>& faults) {
  std::vector<std::string> known;
  try {
    for (const std::string& name : parse_list(text)) {
      if (is_known(name)) {
        known.push_back(name);
      } else {
        faults.push_back(unknown_part(part, name));
      }
    }
  } catch (const ConfigError& error) {
    faults.push_back(std::string(part.option) + ": " + error.what());
  }
  return known;
}

void check_steps(std::int64_t steps, std::int64_t lowest, const char* option, std::vector<std::string>& faults) {
  if (steps >= lowest && steps <= kMostSteps) return;
  faults.push_back(
      to_text(Fault{.doing = option,
                    .expected = "a whole number from " + std::to_string(lowest) + " to " + std::to_string(kMostSteps),
                    .found = std::to_string(steps)}));
}

}  // namespace

std::vector<std::int64_t> parse_batches(const std::string& text) {
  std::vector<std::int64_t> batches;
  for (const std::string& part : parse_list(text)) {
    std::int64_t batch = 0;
    const char* const end = part.data() + part.size();
    const auto [rest, fault] = std::from_chars(part.data(), end, batch);
    if (fault != std::errc{} || rest != end || batch < 1 || batch > kLargestBatch) {
      refuse(text, "whole numbers from 1 to " + std::to_string(kLargestBatch), in_quotes(part));
    }
    if (std::ranges::find(batches, batch) != batches.end()) refuse(text, "every batch once", in_quotes(part) + " again");
    batches.push_back(batch);
  }
  return batches;
}

std::vector<std::string> validate(const BenchConfig& config, int ranks) {
  std::vector<std::string> faults;
  const auto models =
      known_parts(config.models, {"--models", "networks that `dtrain models` lists", model_names()}, is_known_model, faults);
  const auto precisions = known_parts(
      config.precision, {"--precision", "fp32, bf16 or fp32,bf16", {"fp32", "bf16"}},
      [](const std::string& name) { return name == "fp32" || name == "bf16"; }, faults);
  try {
    parse_batches(config.batches);
  } catch (const ConfigError& error) {
    faults.push_back(std::string("--batches: ") + error.what());
  }
  check_steps(config.steps, 1, "--steps", faults);
  check_steps(config.warmup, 0, "--warmup", faults);
  // Where a list has nothing that is known, its default stands in, so that faults of other options are found all the same.
  const BenchConfig sound{.training = config.training};
  for (const std::string& model : models.empty() ? std::vector{sound.models} : models) {
    for (const std::string& precision : precisions.empty() ? std::vector{sound.precision} : precisions) {
      for (std::string& fault : validate(run_of(sound, {model, precision, 1}, ranks), ranks)) {
        if (fault.starts_with("--model:")) fault.insert(fault.find(':'), "s");  // the option's name here
        if (std::ranges::find(faults, fault) == faults.end()) faults.push_back(std::move(fault));
      }
    }
  }
  return faults;
}

std::vector<Combination> combinations_of(const BenchConfig& config) {
  std::vector<Combination> combinations;
  for (const std::string& model : parse_list(config.models)) {
    for (const std::string& precision : parse_list(config.precision)) {
      for (const std::int64_t batch : parse_batches(config.batches)) combinations.push_back({model, precision, batch});
    }
  }
  return combinations;
}

TrainConfig run_of(const BenchConfig& config, const Combination& combination, int ranks) {
  TrainConfig run = config.training;
  run.model = combination.model;
  run.precision = combination.precision;
  run.data = "synthetic";
  run.local_batch = combination.batch;
  run.global_batch = combination.batch * std::max(1, training_ranks(config.training, ranks));
  run.steps = config.warmup + config.steps;
  // A whole number of batches, so that no step is smaller; no more of them than an epoch of ImageNet has, whose order is kept.
  run.synthetic_size = run.global_batch * std::clamp<std::int64_t>(run.synthetic_size / run.global_batch, 1, run.steps);
  run.schedule = "constant";
  run.lr = kHarmlessRate;
  run.checkpoint_every = run.eval_every = "off";
  return run;
}

}  // namespace dtrain
