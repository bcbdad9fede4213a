// Curves of a run: learning rate, weight decay and momentum over steps. Pure; written as text ("poly:power=2"), validated once.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Shape of the learning rate after warm-up. t: steps; e: epochs, fractions allowed; T: the run's steps; W: warm-up steps;
/// b: the peak rate; D: steps of the decay, T−W, or as many epochs as over= says, whereupon the rate stays what it is:
///   constant                         b
///   step:every=30,gamma=0.1          b·gamma^⌊e/every⌋
///   multistep:at=30/60/80,gamma=0.1  b·gamma^(milestones passed)       (epochs)
///   poly:power=2,end=0               end + (b−end)·(1−(t−W)/D)^power   (continuous at t = W)
///   poly-published:power=2,end=0     end + (b−end)·(1−t/(W+D))^power   (below the peak at once when warm-up ends)
///   cosine:end=0                     end + (b−end)·(1+cos(π(t−W)/D))/2
///   exp:gamma=0.95                   b·gamma^(e−W's epochs)
///   inv:gamma=0.1,power=0.75         b·(1+gamma·(e−W's epochs))^−power
///   sigmoid:at=45,gamma=0.2          b/(1+exp(gamma·(e−at)))           (half of the peak at epoch `at`)
///   inverse-rate:most=4              of weight decay alone: its value times min(most, peak rate/rate) after the warm-up
/// Warm-up, t < W: (t·b + (W−t)·s)/W, from start rate s (linear).
/// A cycle that is stopped before it has decayed is a poly with over= longer than the run.
/// Source: Goyal et al. 2017 §2.2 (warm-up, linear scaling); Loshchilov & Hutter 2017 (cosine); Caffe's solvers
/// (poly-published, as its warm-up branch has it, exp, inv, sigmoid; there over iterations).
struct Curve {
  enum class Kind { constant, step, multistep, poly, poly_published, cosine, exponential, inverse, sigmoid, inverse_rate };
  Kind kind = Kind::constant;
  double gamma = 0.1;
  double every_epochs = 30.0;
  std::vector<double> at_epochs{};  ///< multistep; sigmoid: one
  double power = 1.0;
  double end = 0.0;
  double over_epochs = 0.0;  ///< poly, cosine: 0: the rest of the run
  double most = 4.0;         ///< inverse_rate

  bool operator==(const Curve&) const = default;
};

/// Parses a schedule's text. Parameters that are left out have the values shown above, but for poly's power, which is 1 then;
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

/// What goes along with the rate, weight decay or momentum, at step t: `value`, shaped by a curve without warm-up. A curve may
/// rise: poly:end=2e-4 goes from 1e-4 to 2e-4 in a straight line.
double value_beside_rate(const RatePlan& rate, double value, const Curve& curve, std::int64_t step);

/// How a rate per 256 samples becomes that of a larger batch.
enum class BatchScaling { linear, square_root };
/// base_lr · global_batch / 256 (Goyal et al. 2017: the mean gradient of a batch stands for that of as many steps), or
/// base_lr · √(global_batch / 256) (Krizhevsky 2014: keeps the variance of the steps).
double scaled_rate(double base_lr, std::int64_t global_batch, BatchScaling scaling = BatchScaling::linear);

}  // namespace dtrain
