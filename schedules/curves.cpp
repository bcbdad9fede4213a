// Learning-rate curves: parsing their text and evaluating them at a step.
#include "schedules/curves.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>

#include "dtrain/error.hpp"
#include "schedules/text.hpp"

namespace dtrain {
namespace {

struct KnownCurve {
  Curve::Kind kind;
  std::string_view name;
  std::string_view usage;
};

constexpr std::array<KnownCurve, 10> kKnownCurves{{
    {Curve::Kind::constant, "constant", "constant"},
    {Curve::Kind::step, "step", "step:every=30,gamma=0.1"},
    {Curve::Kind::multistep, "multistep", "multistep:at=30/60/80,gamma=0.1"},
    {Curve::Kind::poly, "poly", "poly:power=2,end=0"},
    {Curve::Kind::poly_published, "poly-published", "poly-published:power=2,end=0"},
    {Curve::Kind::cosine, "cosine", "cosine:end=0"},
    {Curve::Kind::exponential, "exp", "exp:gamma=0.95"},
    {Curve::Kind::inverse, "inv", "inv:gamma=0.1,power=0.75"},
    {Curve::Kind::sigmoid, "sigmoid", "sigmoid:at=45,gamma=0.2"},
    {Curve::Kind::inverse_rate, "inverse-rate", "inverse-rate:most=4"},
}};

// Which parameters a curve has.
bool has_power(Curve::Kind kind) {
  return kind == Curve::Kind::poly || kind == Curve::Kind::poly_published || kind == Curve::Kind::inverse;
}
bool decays_over(Curve::Kind kind) {
  return kind == Curve::Kind::poly || kind == Curve::Kind::poly_published || kind == Curve::Kind::cosine;
}
bool has_gamma(Curve::Kind kind) {
  return kind != Curve::Kind::constant && kind != Curve::Kind::inverse_rate && !decays_over(kind);
}

std::string names() {
  std::string text;
  for (const KnownCurve& known : kKnownCurves) text += (text.empty() ? "" : ", ") + std::string(known.name);
  return text;
}

std::string usages() {
  std::string text;
  for (const KnownCurve& known : kKnownCurves) text += (text.empty() ? "" : ", ") + std::string(known.usage);
  return text;
}

/// Reads the parameters of one curve and collects what is wrong with them.
class CurveParser {
 public:
  explicit CurveParser(const KnownCurve& known) : known_(known) {
    curve_.kind = known.kind;
    if (known.kind == Curve::Kind::exponential) curve_.gamma = 0.95;
    if (known.kind == Curve::Kind::inverse) curve_.power = 0.75;
    if (known.kind == Curve::Kind::sigmoid) curve_.gamma = 0.2;
  }

  void read_parameter(std::string_view text) {
    const std::size_t equals = text.find('=');
    if (equals == std::string_view::npos) return fault(quoted(text) + " is not of the form name=value");
    const std::string_view key = text.substr(0, equals);
    const std::string_view value = text.substr(equals + 1);
    if (std::find(seen_.begin(), seen_.end(), key) != seen_.end()) return fault(std::string(key) + " is given twice");
    seen_.push_back(key);

    using Kind = Curve::Kind;
    const Kind kind = curve_.kind;
    if (key == "gamma" && has_gamma(kind)) {
      take_number(key, value, curve_.gamma, NumberBound::positive);
    } else if (key == "every" && kind == Kind::step) {
      take_number(key, value, curve_.every_epochs, NumberBound::positive);
    } else if (key == "at" && kind == Kind::multistep) {
      read_milestones(value);
    } else if (key == "at" && kind == Kind::sigmoid) {
      take_number(key, value, curve_.at_epochs.emplace_back(), NumberBound::positive);
    } else if (key == "power" && has_power(kind)) {
      take_number(key, value, curve_.power, NumberBound::positive);
    } else if (key == "end" && decays_over(kind)) {
      take_number(key, value, curve_.end, NumberBound::not_negative);
    } else if (key == "over" && decays_over(kind)) {
      take_number(key, value, curve_.over_epochs, NumberBound::positive);
    } else if (key == "most" && kind == Kind::inverse_rate) {
      take_number(key, value, curve_.most, NumberBound::positive);
    } else {
      fault(std::string(known_.name) + " has no parameter " + quoted(key));
    }
  }

  Curve finish(std::string_view text) {
    const bool needs_at = curve_.kind == Curve::Kind::multistep || curve_.kind == Curve::Kind::sigmoid;
    if (needs_at && std::find(seen_.begin(), seen_.end(), "at") == seen_.end()) {
      fault(curve_.kind == Curve::Kind::sigmoid ? "at, the epoch of half the rate, is missing"
                                                : "at, the epochs of the drops, is missing");
    }
    if (!faults_.empty()) {
      throw ConfigError(Fault{.doing = "reading the schedule " + quoted(text),
                              .expected = "parameters as in " + std::string(known_.usage),
                              .found = faults_,
                              .remedy = std::string(known_.usage)});
    }
    return curve_;
  }

 private:
  void fault(const std::string& text) { faults_ += (faults_.empty() ? "" : "; ") + text; }

  void take_number(std::string_view key, std::string_view text, double& target, NumberBound bound) {
    const std::string wrong = read_number(key, text, bound, target);
    if (!wrong.empty()) fault(wrong);
  }

  void read_milestones(std::string_view text) {
    for (const std::string_view part : split_text(text, '/')) {
      double epoch = 0.0;
      const std::size_t faults_before = faults_.size();
      take_number("at", part, epoch, NumberBound::positive);
      if (faults_.size() != faults_before) continue;
      if (!curve_.at_epochs.empty() && epoch <= curve_.at_epochs.back()) {
        fault("the epochs at=" + std::string(text) + " do not ascend");
      }
      curve_.at_epochs.push_back(epoch);
    }
  }

  const KnownCurve& known_;
  Curve curve_;
  std::vector<std::string_view> seen_;
  std::string faults_;
};

/// More than any run has, and a whole number in 64 bits.
constexpr double kMostSteps = 0x1.0p62;

/// First step at or after `epochs`. A hair of tolerance, so that 0.1 epochs of 10 steps are one step although 0.1 is inexact.
std::int64_t first_step_at(double epochs, std::int64_t steps_per_epoch) {
  const double steps = std::min(epochs * static_cast<double>(steps_per_epoch), kMostSteps);
  return static_cast<std::int64_t>(std::ceil(steps * (1.0 - 1e-12)));
}

/// Drops that `step` has passed: `at` for multistep; multiples of `every` for step.
std::int64_t drops_passed(const Curve& curve, std::int64_t step, std::int64_t steps_per_epoch) {
  if (curve.kind == Curve::Kind::multistep) {
    return std::count_if(curve.at_epochs.begin(), curve.at_epochs.end(),
                         [&](double epochs) { return step >= first_step_at(epochs, steps_per_epoch); });
  }
  const double epoch = static_cast<double>(step) / static_cast<double>(steps_per_epoch);
  const double quotient = epoch / curve.every_epochs;
  constexpr double kMostDrops = 1e9;  // a rate is 0 or infinite long before
  if (quotient >= kMostDrops) return static_cast<std::int64_t>(kMostDrops);
  auto passed = static_cast<std::int64_t>(quotient);
  // The quotient may be rounded to either side of a whole number; the drop's own step decides.
  while (step >= first_step_at(static_cast<double>(passed + 1) * curve.every_epochs, steps_per_epoch)) ++passed;
  while (passed > 0 && step < first_step_at(static_cast<double>(passed) * curve.every_epochs, steps_per_epoch)) --passed;
  return passed;
}

/// ",end=0,over=12", the latter where it is given.
std::string decay_text(const Curve& curve) {
  const std::string over = curve.over_epochs > 0.0 ? ",over=" + shortest_text(curve.over_epochs) : "";
  return ",end=" + shortest_text(curve.end) + over;
}

/// Share of the decay that is behind step t, at most 1.
double decayed_share(const RatePlan& plan, std::int64_t step) {
  const auto warmup = static_cast<double>(warmup_steps(plan));
  const double over = plan.curve.over_epochs > 0.0
                          ? std::max(1.0, std::round(plan.curve.over_epochs * static_cast<double>(epoch_steps(plan))))
                          : static_cast<double>(plan.total_steps) - warmup;
  const auto t = static_cast<double>(step);
  return std::min(1.0, plan.curve.kind == Curve::Kind::poly_published ? t / (warmup + over) : (t - warmup) / over);
}

}  // namespace

Curve parse_curve(std::string_view text) {
  const std::size_t colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  const auto known =
      std::find_if(kKnownCurves.begin(), kKnownCurves.end(), [&](const KnownCurve& k) { return k.name == name; });
  if (known == kKnownCurves.end()) {
    throw ConfigError(Fault{.doing = "reading the schedule " + quoted(text),
                            .expected = "one of " + names(),
                            .found = quoted(name),
                            .remedy = usages()});
  }
  CurveParser parser(*known);
  if (colon != std::string_view::npos) {
    for (const std::string_view parameter : split_text(text.substr(colon + 1), ',')) parser.read_parameter(parameter);
  }
  return parser.finish(text);
}

std::string to_text(const Curve& curve) {
  switch (curve.kind) {
    case Curve::Kind::constant:
      return "constant";
    case Curve::Kind::step:
      return "step:every=" + shortest_text(curve.every_epochs) + ",gamma=" + shortest_text(curve.gamma);
    case Curve::Kind::multistep: {
      std::string at;
      for (const double epoch : curve.at_epochs) {
        if (!at.empty()) at += '/';
        at += shortest_text(epoch);
      }
      return "multistep:at=" + at + ",gamma=" + shortest_text(curve.gamma);
    }
    case Curve::Kind::poly:
      return "poly:power=" + shortest_text(curve.power) + decay_text(curve);
    case Curve::Kind::poly_published:
      return "poly-published:power=" + shortest_text(curve.power) + decay_text(curve);
    case Curve::Kind::cosine:
      return "cosine:" + decay_text(curve).substr(1);
    case Curve::Kind::exponential:
      return "exp:gamma=" + shortest_text(curve.gamma);
    case Curve::Kind::inverse:
      return "inv:gamma=" + shortest_text(curve.gamma) + ",power=" + shortest_text(curve.power);
    case Curve::Kind::sigmoid:
      return "sigmoid:at=" + shortest_text(curve.at_epochs.front()) + ",gamma=" + shortest_text(curve.gamma);
    case Curve::Kind::inverse_rate:
      return "inverse-rate:most=" + shortest_text(curve.most);
  }
  check(false, "a curve is of a known kind");
  return {};
}

std::int64_t epoch_steps(const RatePlan& plan) {
  check(plan.samples > 0 && plan.global_batch > 0, "an epoch has samples, and a batch too");
  return (plan.samples - 1) / plan.global_batch + 1;
}

std::int64_t warmup_steps(const RatePlan& plan) {
  const double steps = plan.warmup_epochs * static_cast<double>(epoch_steps(plan));
  check(steps >= 0.0 && steps <= kMostSteps, "a warm-up has a number of steps that can be counted");
  return std::llround(steps);
}

double learning_rate(const RatePlan& plan, std::int64_t step) {
  check(0 <= step && step < plan.total_steps, "a step lies within the run");
  const Curve& curve = plan.curve;
  const std::int64_t warmup = warmup_steps(plan);
  if (step < warmup) {
    const auto t = static_cast<double>(step);
    const auto w = static_cast<double>(warmup);
    return (t * plan.peak + (w - t) * plan.warmup_start) / w;
  }
  const double epochs = static_cast<double>(step) / static_cast<double>(epoch_steps(plan));
  const double warm_epochs = static_cast<double>(step - warmup) / static_cast<double>(epoch_steps(plan));
  const auto decayed_to = [&](double share) { return curve.end + (plan.peak - curve.end) * share; };
  switch (curve.kind) {
    case Curve::Kind::constant:
      return plan.peak;
    case Curve::Kind::step:
    case Curve::Kind::multistep:
      return plan.peak * std::pow(curve.gamma, static_cast<double>(drops_passed(curve, step, epoch_steps(plan))));
    case Curve::Kind::poly:
    case Curve::Kind::poly_published:
      return decayed_to(std::pow(1.0 - decayed_share(plan, step), curve.power));
    case Curve::Kind::cosine:
      return decayed_to(0.5 * (1.0 + std::cos(std::numbers::pi * decayed_share(plan, step))));
    case Curve::Kind::exponential:
      return plan.peak * std::pow(curve.gamma, warm_epochs);
    case Curve::Kind::inverse:
      return plan.peak * std::pow(1.0 + curve.gamma * warm_epochs, -curve.power);
    case Curve::Kind::sigmoid:
      return plan.peak / (1.0 + std::exp(curve.gamma * (epochs - curve.at_epochs.front())));
    case Curve::Kind::inverse_rate:
      break;
  }
  check(false, "a rate follows a curve of its own");
  return 0.0;
}

double value_beside_rate(const RatePlan& rate, double value, const Curve& curve, std::int64_t step) {
  if (curve.kind != Curve::Kind::inverse_rate) {
    RatePlan plan = rate;
    plan.curve = curve;
    plan.peak = value;
    plan.warmup_epochs = 0.0;
    return learning_rate(plan, step);
  }
  if (step < warmup_steps(rate)) return value;
  return value * std::min(curve.most, rate.peak / std::max(learning_rate(rate, step), 1e-300));
}

double scaled_rate(double base_lr, std::int64_t global_batch, BatchScaling scaling) {
  const double batches = static_cast<double>(global_batch) / 256.0;
  return base_lr * (scaling == BatchScaling::linear ? batches : std::sqrt(batches));
}

}  // namespace dtrain
