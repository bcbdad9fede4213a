// Reading and writing stages as text; see stage_text.hpp.
#include "schedules/stage_text.hpp"

#include <algorithm>
#include <cmath>

#include "dtrain/error.hpp"
#include "schedules/text.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kStageUsage =
    "NAME: epochs=F|steps=N lr=F|base-lr=F schedule=CURVE warmup-epochs=F warmup-start-lr=F weight-decay=F "
    "weight-decay-schedule=CURVE momentum=F momentum-schedule=CURVE label-smoothing=F augment=standard|light|none crop=N "
    "keep-momentum=on|off keep-statistics=on|off branch=on|off; NAME: …";

// Members' files have the names of their stages.
constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
constexpr std::size_t kLongestName = 64;
constexpr double kLargestCrop = 65536.0;

/// Reads the keys of one stage and collects what is wrong with them.
class StageParser {
 public:
  StageParser(const StageContext& context, std::vector<std::string>& faults)
      : context_(context), stage_(context.defaults), faults_(faults) {}

  Stage parse(std::string_view text) {
    const std::size_t colon = text.find(": ");
    const std::string_view name = trimmed(text.substr(0, colon));
    if (colon == std::string_view::npos || name.empty() || name.size() > kLongestName ||
        name.find_first_not_of(kNameLetters) != std::string_view::npos) {
      faults_.push_back(quoted(trimmed(text)) +
                        " does not begin with a name, of letters, digits, '-', '_' and '.', and a colon");
      return stage_;
    }
    stage_.name = name;
    stage_.epochs = 0.0;
    stage_.steps = 0;
    for (const std::string_view word : split_text(trimmed(text.substr(colon + 2)), ' ')) {
      if (!word.empty()) read(word);
    }
    if (stage_.epochs == 0.0 && stage_.steps == 0) fault("epochs or steps is missing");
    if (has("epochs") && has("steps")) fault("epochs and steps are both given");
    if (has("lr") && has("base-lr")) fault("lr and base-lr are both given");
    return stage_;
  }

 private:
  void fault(const std::string& text) { faults_.push_back(stage_.name + ": " + text); }
  bool has(std::string_view key) const { return std::find(seen_.begin(), seen_.end(), key) != seen_.end(); }

  void read(std::string_view word) {
    const std::size_t equals = word.find('=');
    if (equals == std::string_view::npos) return fault(quoted(word) + " is not of the form key=value");
    const std::string_view key = word.substr(0, equals);
    const std::string_view value = word.substr(equals + 1);
    if (has(key)) return fault(std::string(key) + " is given twice");
    seen_.push_back(key);
    if (!read_number_of(key, value) && !read_curve_of(key, value) && !read_choice(key, value)) {
      fault("no key " + quoted(key));
    }
  }

  bool read_number_of(std::string_view key, std::string_view value) {
    double number = 0.0;
    if (key == "epochs") return take(key, value, NumberBound::positive, stage_.epochs);
    if (key == "lr") return take(key, value, NumberBound::positive, stage_.learning_rate);
    if (key == "warmup-epochs") return take(key, value, NumberBound::not_negative, stage_.warmup_epochs);
    if (key == "warmup-start-lr") return take(key, value, NumberBound::not_negative, stage_.warmup_start);
    if (key == "weight-decay") return take(key, value, NumberBound::not_negative, stage_.weight_decay);
    if (key == "momentum") return take_fraction(key, value, stage_.momentum);
    if (key == "label-smoothing") return take_fraction(key, value, stage_.label_smoothing);
    if (key == "base-lr") {
      if (take(key, value, NumberBound::positive, number)) {
        stage_.learning_rate = scaled_rate(number, context_.global_batch, context_.scaling);
      }
      return true;
    }
    if (key == "steps" || key == "crop") {
      take(key, value, NumberBound::positive, number);
      const double most = key == "steps" ? static_cast<double>(kMostStageSteps) : kLargestCrop;
      if (number != std::floor(number) || number > most) {
        fault(word_of(key, value) + " is not a whole number up to " + shortest_text(most));
      }
      (key == "steps" ? stage_.steps : stage_.crop) = static_cast<std::int64_t>(std::min(number, most));
      return true;
    }
    return false;
  }

  bool read_curve_of(std::string_view key, std::string_view value) {
    Curve* const curve = key == "schedule"                ? &stage_.schedule
                         : key == "weight-decay-schedule" ? &stage_.weight_decay_schedule
                         : key == "momentum-schedule"     ? &stage_.momentum_schedule
                                                          : nullptr;
    if (curve == nullptr) return false;
    try {
      *curve = parse_curve(value);
      if (curve->kind == Curve::Kind::inverse_rate && curve != &stage_.weight_decay_schedule) {
        fault(word_of(key, value) + ": inverse-rate is a curve of weight decay");
      }
    } catch (const ConfigError& error) {
      fault(std::string(key) + ": " + error.what());
    }
    return true;
  }

  bool read_choice(std::string_view key, std::string_view value) {
    if (key == "augment") {
      if (value != "standard" && value != "light" && value != "none")
        fault(word_of(key, value) + " is not standard, light or none");
      stage_.augment = value;
      return true;
    }
    bool* const flag = key == "keep-momentum"     ? &stage_.keeps_momentum
                       : key == "keep-statistics" ? &stage_.keeps_statistics
                       : key == "branch"          ? &stage_.is_branch
                                                  : nullptr;
    if (flag == nullptr) return false;
    if (value != "on" && value != "off") fault(word_of(key, value) + " is not on or off");
    *flag = value == "on";
    return true;
  }

  static std::string word_of(std::string_view key, std::string_view value) {
    return std::string(key) + "=" + std::string(value);
  }

  /// Result: true, so that it can end the search for the key.
  bool take(std::string_view key, std::string_view value, NumberBound bound, double& target) {
    const std::string wrong = read_number(key, value, bound, target);
    if (!wrong.empty()) fault(wrong);
    return true;
  }

  bool take_fraction(std::string_view key, std::string_view value, double& target) {
    take(key, value, NumberBound::not_negative, target);
    if (target >= 1.0) fault(word_of(key, value) + " is not below 1");
    return true;
  }

  const StageContext& context_;
  Stage stage_;
  std::vector<std::string>& faults_;
  std::vector<std::string_view> seen_;
};

std::string text_of_stage(const Stage& stage) {
  const Stage plain;
  std::string text = stage.name + ": ";
  text += stage.steps > 0 ? "steps=" + std::to_string(stage.steps) : "epochs=" + shortest_text(stage.epochs);
  text += " lr=" + shortest_text(stage.learning_rate) + " schedule=" + to_text(stage.schedule);
  if (stage.warmup_epochs > 0.0) {
    text += " warmup-epochs=" + shortest_text(stage.warmup_epochs) + " warmup-start-lr=" + shortest_text(stage.warmup_start);
  }
  text += " weight-decay=" + shortest_text(stage.weight_decay) + " momentum=" + shortest_text(stage.momentum);
  if (stage.weight_decay_schedule != Curve{}) text += " weight-decay-schedule=" + to_text(stage.weight_decay_schedule);
  if (stage.momentum_schedule != Curve{}) text += " momentum-schedule=" + to_text(stage.momentum_schedule);
  if (stage.label_smoothing > 0.0) text += " label-smoothing=" + shortest_text(stage.label_smoothing);
  if (!stage.augment.empty()) text += " augment=" + stage.augment;
  if (stage.crop > 0) text += " crop=" + std::to_string(stage.crop);
  if (stage.keeps_momentum) text += " keep-momentum=on";
  if (!stage.keeps_statistics) text += " keep-statistics=off";
  return text + (stage.is_branch ? " branch=on" : "");
}

}  // namespace

std::vector<Stage> parse_stages(std::string_view written, const StageContext& context) {
  std::string text(written);
  std::replace_if(
      text.begin(), text.end(), [](char letter) { return letter == '\n' || letter == '\t' || letter == '\r'; }, ' ');
  std::vector<Stage> stages;
  std::vector<std::string> faults;
  for (const std::string_view part : split_text(std::string_view(text), ';')) {
    if (trimmed(part).empty()) continue;
    stages.push_back(StageParser(context, faults).parse(part));
  }
  if (stages.empty()) faults.push_back("no stage");
  if (faults.empty()) return stages;
  std::string found;
  for (const std::string& fault : faults) found += (found.empty() ? "" : "; ") + fault;
  throw ConfigError(Fault{.doing = "reading the stages of a run",
                          .expected = std::string(kStageUsage),
                          .found = found,
                          .remedy = "--dry-run with a --preset, which prints its stages as such a text"});
}

std::string to_text(const std::vector<Stage>& stages) {
  std::string text;
  for (const Stage& stage : stages) text += (text.empty() ? "" : "; ") + text_of_stage(stage);
  return text;
}

}  // namespace dtrain
