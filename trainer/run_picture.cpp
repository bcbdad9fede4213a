// Drawing runs; see run_picture.hpp.
#include "trainer/run_picture.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <limits>
#include <utility>

#include "dtrain/error.hpp"
#include "trainer/drawing.hpp"

namespace dtrain {
namespace {

// Pixels.
constexpr double kRunWidth = 960.0, kRunLeft = 84.0, kRunRight = 24.0;
constexpr double kLegendTop = 46.0, kLegendLine = 18.0, kPanelGap = 30.0, kAxisBottom = 56.0;
constexpr double kLossHeight = 230.0, kAccuracyHeight = 230.0, kRunRateHeight = 110.0;
constexpr std::size_t kPointsOfCurve = 900;
constexpr std::size_t kColours = 6;

using Points = std::vector<std::pair<double, double>>;

/// Values over epochs; NaN: a gap.
struct Curve2d {
  std::vector<double> epochs, values;
};

double value_or_gap(double value) { return std::isfinite(value) ? value : std::numeric_limits<double>::quiet_NaN(); }

/// One run's curves.
struct RunCurves {
  Curve2d step_loss, step_top1, epoch_loss, epoch_top1, validation_loss, validation_top1, rate;
};

/// Where on the axis a step is.
double epoch_at(const RunHistory& run, const std::vector<double>& executed, std::int64_t step) {
  const auto at = std::ranges::lower_bound(run.steps, step, {}, &MetricsLine::step);
  const auto index = std::min<std::ptrdiff_t>(at - run.steps.begin(), std::ssize(run.steps) - 1);
  return executed[static_cast<std::size_t>(index)];
}

RunCurves curves_of(const RunHistory& run) {
  const std::vector<double> executed = executed_epochs(run.steps);
  RunCurves curves;
  std::vector<double> losses, top1s;
  for (const MetricsLine& step : run.steps) {
    losses.push_back(step.loss);
    top1s.push_back(100.0 * step.top1);
    curves.rate.values.push_back(step.learning_rate);
  }
  curves.rate.epochs = executed;
  curves.step_loss = {executed, smoothed(losses)};
  curves.step_top1 = {executed, smoothed(top1s)};
  for (const EpochRow& row : run.epochs.rows()) {
    const double epoch = epoch_at(run, executed, row.step);
    curves.epoch_loss.epochs.push_back(epoch);
    curves.epoch_loss.values.push_back(value_or_gap(row.loss));
    curves.epoch_top1.epochs.push_back(epoch);
    curves.epoch_top1.values.push_back(value_or_gap(100.0 * row.top1));
  }
  for (const MetricsLine& line : run.validations) {
    const double epoch = epoch_at(run, executed, line.step);
    curves.validation_loss.epochs.push_back(epoch);
    curves.validation_loss.values.push_back(value_or_gap(line.loss));
    curves.validation_top1.epochs.push_back(epoch);
    curves.validation_top1.values.push_back(value_or_gap(100.0 * line.top1));
  }
  return curves;
}

/// Of all curves; a few values far above the others do not count, so that a first step does not flatten what follows.
double largest_shown(const std::vector<const Curve2d*>& curves) {
  std::vector<double> values;
  for (const Curve2d* curve : curves) {
    std::ranges::copy_if(curve->values, std::back_inserter(values), [](double value) { return std::isfinite(value); });
  }
  if (values.empty()) return 1.0;
  std::ranges::sort(values);
  const double usual = values[values.size() * 9 / 10];
  return usual > 0.0 ? std::min(values.back(), 2.5 * usual) : values.back();
}

class RunPicture {
 public:
  explicit RunPicture(const std::vector<RunHistory>& runs) : runs_(runs) {
    for (const RunHistory& run : runs) {
      curves_.push_back(curves_of(run));
      last_epoch_ = std::max(last_epoch_, curves_.back().rate.epochs.back());
    }
    if (last_epoch_ <= 0.0) last_epoch_ = 1.0;
    top_ = kLegendTop + kLegendLine * static_cast<double>(compares() ? runs.size() + 1 : 1) + 26.0;
    bottom_ = top_ + kLossHeight + kPanelGap + kAccuracyHeight + kPanelGap + kRunRateHeight;
  }

  std::string draw() {
    draw_legend();
    if (!compares()) draw_stages();
    const double accuracy_top = top_ + kLossHeight + kPanelGap;
    draw_panel(top_, kLossHeight, "loss", 8.0, &RunCurves::step_loss, &RunCurves::epoch_loss, &RunCurves::validation_loss);
    const Axis accuracy = draw_panel(accuracy_top, kAccuracyHeight, "top-1, %", 8.0, &RunCurves::step_top1,
                                     &RunCurves::epoch_top1, &RunCurves::validation_top1);
    draw_best(accuracy);
    draw_panel(accuracy_top + kAccuracyHeight + kPanelGap, kRunRateHeight, "learning rate", 4.0, &RunCurves::rate, nullptr,
               nullptr);
    const double tick = tick_of(last_epoch_, 12.0);
    for (double epoch = 0.0; epoch <= last_epoch_ * 1.0001; epoch += tick) {
      canvas_.line(x_of(epoch), bottom_, x_of(epoch), bottom_ + 5.0, "axis");
      canvas_.text(x_of(epoch), bottom_ + 19.0, axis_text(epoch), "tick", "middle");
    }
    canvas_.text((kRunLeft + kRunWidth - kRunRight) / 2.0, bottom_ + 42.0, "epochs", "name", "middle");
    return header() + canvas_.take() + "</svg>\n";
  }

 private:
  bool compares() const { return runs_.size() > 1; }
  double x_of(double epoch) const { return kRunLeft + epoch / last_epoch_ * (kRunWidth - kRunLeft - kRunRight); }
  static std::string colour(std::size_t run) { return "c" + std::to_string(run % kColours); }

  std::string header() const {
    const std::string height = pixels_text(bottom_ + kAxisBottom), width = pixels_text(kRunWidth);
    std::string style =
        "text{font-family:sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}.name{font-size:13px}"
        ".tick,.stage,.legend{font-size:11px}.axis{stroke:#444}.grid{stroke:#e4e4e4}.edge{stroke:#bbb;stroke-dasharray:4 3}"
        ".page{fill:#fff}polyline{fill:none;stroke-width:2}.faint{stroke-width:1;opacity:.45}.dashed{stroke-dasharray:6 3}"
        "circle{stroke:none}.best{fill:none;stroke:#222;stroke-width:1.5}";
    constexpr std::array<const char*, kColours> kPalette{"#1f5fa8", "#c8551b", "#2f8f4e", "#8e44ad", "#b8860b", "#0e8a8a"};
    for (std::size_t k = 0; k < kColours; ++k) {
      style += "polyline." + colour(k) + ",line." + colour(k) + "{stroke:" + kPalette[k] + "}circle." + colour(k) +
               "{fill:" + kPalette[k] + "}";
    }
    const std::string title = compares() ? counted(std::ssize(runs_), "run") : runs_.front().name;
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + width + "\" height=\"" + height + "\" viewBox=\"0 0 " +
           width + " " + height + "\">\n<style>" + style +
           "</style>\n<rect width=\"100%\" height=\"100%\" class=\"page\"/>\n<text x=\"" + pixels_text(kRunLeft) +
           "\" y=\"24\" class=\"title\">" + escaped_for_svg(title) + "</text>\n";
  }

  void draw_sample(double x, double y, const std::string& style, const std::string& words) {
    canvas_.curve({{x, y - 4.0}, {x + 26.0, y - 4.0}}, style);
    canvas_.text(x + 32.0, y, words, "legend", "start");
  }

  void draw_legend() {
    const bool validates = std::ranges::any_of(runs_, [](const RunHistory& run) { return !run.validations.empty(); });
    if (!compares()) {
      draw_sample(kRunLeft, kLegendTop, "faint c0", "training, by step (smoothed)");
      draw_sample(kRunLeft + 220.0, kLegendTop, "c0", "training, mean of an epoch");
      if (validates) draw_sample(kRunLeft + 430.0, kLegendTop, "c1", "validation");
      return;
    }
    for (std::size_t k = 0; k < runs_.size(); ++k) {
      draw_sample(kRunLeft, kLegendTop + kLegendLine * static_cast<double>(k), colour(k), runs_[k].name);
    }
    canvas_.text(kRunLeft, kLegendTop + kLegendLine * static_cast<double>(runs_.size()),
                 validates ? "dashed: training, mean of an epoch; with dots: validation" : "dashed: training, mean of an epoch",
                 "legend", "start");
  }

  /// Where stages begin, with their names at two heights, so that narrow ones do not write over each other.
  void draw_stages() {
    const RunHistory& run = runs_.front();
    const std::vector<double>& epochs = curves_.front().rate.epochs;
    bool is_raised = false;
    for (std::size_t k = 0; k < run.steps.size(); ++k) {
      if (k > 0 && run.steps[k].stage == run.steps[k - 1].stage) continue;
      const double x = x_of(k == 0 ? 0.0 : epochs[k - 1]);
      if (k > 0) canvas_.line(x, top_ - 4.0, x, bottom_, "edge");
      canvas_.text(x + 3.0, is_raised ? top_ - 17.0 : top_ - 6.0, run.steps[k].stage, "stage", "start");
      is_raised = !is_raised;
    }
  }

  Axis draw_panel(double top, double height, const std::string& name, double most_ticks, Curve2d RunCurves::*by_step,
                  Curve2d RunCurves::*by_epoch, Curve2d RunCurves::*by_validation) {
    const bool is_rate = by_epoch == nullptr;
    std::vector<const Curve2d*> all;
    for (const RunCurves& curves : curves_) {
      if (is_rate || !compares()) all.push_back(&(curves.*by_step));
      if (!is_rate) all.insert(all.end(), {&(curves.*by_epoch), &(curves.*by_validation)});
    }
    Axis axis = Axis::up_to(largest_shown(all), most_ticks);
    axis.top = top, axis.height = height, axis.left = kRunLeft, axis.right = kRunWidth - kRunRight;
    axis.draw(canvas_, name);
    for (std::size_t k = 0; k < curves_.size(); ++k) {
      if (is_rate) {
        draw_curve(curves_[k].*by_step, axis, colour(k), false);
        continue;
      }
      if (!compares()) draw_curve(curves_[k].*by_step, axis, "faint c0", false);
      draw_curve(curves_[k].*by_epoch, axis, compares() ? "dashed " + colour(k) : "c0", !compares());
      draw_curve(curves_[k].*by_validation, axis, compares() ? colour(k) : "c1", true);
    }
    return axis;
  }

  /// What is above the axis is drawn at its end.
  void draw_curve(const Curve2d& curve, const Axis& axis, const std::string& style, bool has_dots) {
    const std::size_t stride = std::max<std::size_t>(1, curve.values.size() / kPointsOfCurve);
    Points piece;
    const auto end_piece = [&] {
      if (piece.size() > 1) canvas_.curve(piece, style);
      if (piece.size() == 1 && !has_dots) canvas_.dot(piece.front().first, piece.front().second, 1.5, style);
      piece.clear();
    };
    for (std::size_t k = 0; k < curve.values.size(); ++k) {
      if (k % stride != 0 && k + 1 != curve.values.size()) continue;
      if (!std::isfinite(curve.values[k])) {
        end_piece();
        continue;
      }
      piece.emplace_back(x_of(curve.epochs[k]), axis.y_of(std::clamp(curve.values[k], 0.0, axis.largest)));
      if (has_dots) canvas_.dot(piece.back().first, piece.back().second, 2.5, style);
    }
    end_piece();
  }

  void draw_best(const Axis& axis) {
    for (std::size_t k = 0; k < runs_.size(); ++k) {
      const auto& best = runs_[k].epochs.best();
      if (!best) continue;
      const double x = x_of(epoch_at(runs_[k], curves_[k].rate.epochs, best->step));
      const double y = axis.y_of(std::clamp(100.0 * best->top1, 0.0, axis.largest));
      std::array<char, 48> words{};
      std::snprintf(words.data(), words.size(), "best %.2f %%", 100.0 * best->top1);
      canvas_.dot(x, y, 5.0, "best");
      const bool is_right = x > kRunWidth - 150.0;
      canvas_.text(is_right ? x - 9.0 : x + 9.0, y + (y < axis.top + 12.0 ? 14.0 : -7.0), words.data(), "legend",
                   is_right ? "end" : "start");
    }
  }

  const std::vector<RunHistory>& runs_;
  std::vector<RunCurves> curves_;
  double last_epoch_ = 0.0;
  double top_ = 0.0, bottom_ = 0.0;
  Canvas canvas_;
};

}  // namespace

std::vector<double> smoothed(const std::vector<double>& values) {
  const double kept = 1.0 - 1.0 / std::max(5.0, static_cast<double>(values.size()) / 100.0);
  std::vector<double> averages;
  double sum = 0.0, weight = 0.0;
  for (const double value : values) {
    if (!std::isfinite(value)) {
      sum = weight = 0.0;
      averages.push_back(std::numeric_limits<double>::quiet_NaN());
      continue;
    }
    sum = kept * sum + value;
    weight = kept * weight + 1.0;
    averages.push_back(sum / weight);
  }
  return averages;
}

std::vector<double> executed_epochs(const std::vector<MetricsLine>& steps) {
  std::vector<double> epochs;
  double before = 0.0;  // of the line before, as written
  double stride = 0.0;
  for (const MetricsLine& step : steps) {
    if (epochs.empty()) {
      epochs.push_back(step.epoch);
    } else {
      if (step.epoch > before) stride = step.epoch - before;
      // Where a branch ends, the trunk goes on from where it began: another step of the usual length.
      epochs.push_back(epochs.back() + stride);
    }
    before = step.epoch;
  }
  return epochs;
}

std::string run_picture(const std::vector<RunHistory>& runs) { return RunPicture(runs).draw(); }

}  // namespace dtrain
