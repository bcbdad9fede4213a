// The last lines of a run; see run_ending.hpp.
#include "trainer/run_ending.hpp"

#include <array>
#include <cstdio>

#include "trainer/progress.hpp"

namespace dtrain {
namespace {

std::string place_text(double epoch, std::int64_t step) {
  if (step == 0) return " in an earlier part of the run";
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), " at epoch %.2f (step %lld)", epoch, static_cast<long long>(step));
  return text.data();
}

std::string in_file(const std::string& file) { return file.empty() ? "" : ": " + file; }

}  // namespace

std::vector<std::string> ending_lines(const RunEnding& ending) {
  std::vector<std::string> lines;
  if (ending.best) {
    std::array<char, 64> top1{};
    std::snprintf(top1.data(), top1.size(), "best: validation top-1 %.2f %%", 100.0 * ending.best->top1);
    lines.push_back(top1.data() + place_text(ending.best->epoch, ending.best->step) + in_file(ending.best_file));
  }
  if (ending.last) {
    std::array<char, 96> training{};
    std::snprintf(training.data(), training.size(), "training loss %.4f, top-1 %.2f %%", ending.last->loss,
                  100.0 * ending.last->top1);
    const std::string scores = ending.last->validation ? validation_text(*ending.last->validation) : training.data();
    const bool is_of_file = ending.last->step == ending.steps_done;
    lines.push_back("last: " + scores + place_text(ending.last->epoch, ending.last->step) +
                    (is_of_file ? in_file(ending.last_file) : ""));
    if (!is_of_file && !ending.last_file.empty()) {
      lines.push_back("saved: weights after step " + std::to_string(ending.steps_done) + ", which were not evaluated: " +
                      ending.last_file);
    }
  }
  lines.push_back(
      "time: " + clock_text(ending.total_s) +
      (ending.was_resumed ? "; steps and evaluations of all parts of the run: " + clock_text(ending.all_parts_s) : ""));
  if (!ending.evaluation.empty()) lines.push_back("evaluate: " + ending.evaluation);
  return lines;
}

std::string evaluation_line(const TrainConfig& config, const std::string& program, int ranks, const std::string& weights) {
  const std::string& data = config.val_data.empty() ? config.data : config.val_data;
  if (data == "synthetic" || weights.empty()) return {};
  std::vector<std::string> words;
  if (ranks > 1) words = {"mpirun", "-np", std::to_string(ranks), "--bind-to", "none"};
  words.insert(words.end(), {program, "eval", "--data", data, "--model", config.model, "--weights", weights});
  const auto add = [&](const char* option, const std::string& value) { words.insert(words.end(), {option, value}); };
  if (config.num_classes > 0) add("--num-classes", std::to_string(config.num_classes));
  if (config.crop > 0) add("--crop", std::to_string(config.crop));
  if (config.resize > 0) add("--resize", std::to_string(config.resize));
  if (!config.interpolation.empty()) add("--interpolation", config.interpolation);
  if (!config.mean.empty()) add("--mean", config.mean);
  if (!config.stddev.empty()) add("--std", config.stddev);
  if (config.precision != "fp32") add("--precision", config.precision);
  if (config.allow_slow) words.push_back("--allow-slow");
  if (config.conv != "auto") add("--conv", config.conv);
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + quoted_for_shell(word);
  return line;
}

std::string quoted_for_shell(std::string_view word) {
  constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,@%+-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) return std::string(word);
  std::string quoted = "'";
  for (const char letter : word) quoted += letter == '\'' ? std::string("'\\''") : std::string(1, letter);
  return quoted + "'";
}

}  // namespace dtrain
