// Curves of a run: learning rate over steps. Pure; written as text ("poly:power=2"), validated once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Shape of the learning rate after warm-up, t in steps, T the run's steps, W warm-up steps, b the peak rate:
///   constant                       b
///   step:every=30,gamma=0.1        b·gamma^⌊epoch/every⌋          (epochs, fractions allowed)
///   multistep:at=30/60/80,gamma=0.1  b·gamma^(milestones passed)  (epochs)
///   poly:power=2,end=0             end + (b−end)·(1−(t−W)/(T−W))^power   (continuous at t = W)
///   cosine:end=0                   end + (b−end)·(1+cos(π(t−W)/(T−W)))/2
/// Warm-up, t < W: (t·b + (W−t)·s)/W, from start rate s (linear).
/// Source: Goyal et al. 2017 §2.2 (warm-up, linear scaling); Loshchilov & Hutter 2017 (cosine).
struct Curve {
  enum class Kind { constant, step, multistep, poly, cosine };
  Kind kind = Kind::constant;
  double gamma = 0.1;
  double every_epochs = 30.0;
  std::vector<double> at_epochs{};
  double power = 1.0;
  double end = 0.0;

  bool operator==(const Curve&) const = default;
};

/// Parses a schedule's text. Parameters that are left out have the values shown above, poly's power is 1 then, and multistep's
/// `at` must be given. Errors: ConfigError: unknown name (lists the known ones), unknown, doubled, missing or malformed
/// parameters (all of them in one message).
Curve parse_curve(std::string_view text);
/// Canonical text; parse_curve(to_text(c)) gives c back.
std::string to_text(const Curve& curve);

/// What turns a curve into rates. An epoch has S = ⌈samples/global_batch⌉ steps.
struct RatePlan {
  Curve curve;
  double peak = 0.1;
  double warmup_start = 0.0;
  double warmup_epochs = 0.0;  ///< W = warmup_epochs · S, rounded to whole steps
  std::int64_t total_steps = 1;
  std::int64_t samples = 1;  ///< in an epoch
  std::int64_t global_batch = 1;
};

/// Steps of an epoch, S, and of the warm-up, W.
std::int64_t epoch_steps(const RatePlan& plan);
std::int64_t warmup_steps(const RatePlan& plan);

/// Learning rate of step t, 0 ≤ t < total_steps. Step t lies at epoch t/S: whole epochs plus the share of the current one that
/// is behind it, so that a milestone of m epochs takes effect with step ⌈m·S⌉, the first step of its epoch when m is whole.
double learning_rate(const RatePlan& plan, std::int64_t step);

/// base_lr · global_batch / 256. Source: Goyal et al. 2017, linear scaling rule.
double scaled_rate(double base_lr, std::int64_t global_batch);

}  // namespace dtrain
