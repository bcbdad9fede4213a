// Drawing the schedule; see schedule_picture.hpp.
#include "trainer/schedule_picture.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <vector>

#include "dtrain/error.hpp"
#include "trainer/drawing.hpp"

namespace dtrain {
namespace {

// Pixels.
constexpr double kWidth = 960.0, kLeft = 84.0, kRight = 24.0;
constexpr double kTop = 78.0, kRateHeight = 250.0, kGap = 34.0, kDecayHeight = 110.0, kBottom = 56.0;
constexpr double kHeight = kTop + kRateHeight + kGap + kDecayHeight + kBottom;
constexpr std::int64_t kPointsOfStage = 400;  ///< at most, of a curve

/// A panel: a vertical axis from 0, and one curve.
struct Panel {
  double top, height;
  double most_ticks;
  const char* name;
  const char* style;
  std::function<double(const StageRates&)> value;
};

class SchedulePicture {
 public:
  explicit SchedulePicture(const RunPlan& plan)
      : plan_(plan), epochs_(static_cast<double>(plan.total_steps) / static_cast<double>(plan.steps_per_epoch)) {}

  std::string draw() {
    const double bottom = kTop + kRateHeight + kGap + kDecayHeight;
    draw_stages(bottom);
    draw_panel({.top = kTop,
                .height = kRateHeight,
                .most_ticks = 10.0,
                .name = "learning rate",
                .style = "rate",
                .value = [](const StageRates& rates) { return rates.learning_rate; }});
    draw_panel({.top = kTop + kRateHeight + kGap,
                .height = kDecayHeight,
                .most_ticks = 5.0,
                .name = "weight decay / 1e-4",
                .style = "decay",
                .value = [](const StageRates& rates) { return 1e4 * rates.weight_decay; }});
    const double tick = tick_of(epochs_, 12.0);
    for (double epoch = 0.0; epoch <= epochs_ * 1.0001; epoch += tick) {
      canvas_.line(x_of(epoch), bottom, x_of(epoch), bottom + 5.0, "axis");
      canvas_.text(x_of(epoch), bottom + 19.0, axis_text(epoch), "tick", "middle");
    }
    const bool has_branches = std::ranges::any_of(plan_.stages, [](const PlannedStage& s) { return s.stage.is_branch; });
    canvas_.text(
        kLeft + (kWidth - kLeft - kRight) / 2.0, bottom + 42.0,
        has_branches ? "epochs, as executed; shaded: branches, behind which the trunk goes on as they found it" : "epochs",
        "name", "middle");
    return header() + canvas_.take() + "</svg>\n";
  }

 private:
  double x_of(double epoch) const { return kLeft + epoch / epochs_ * (kWidth - kLeft - kRight); }
  double epoch_of(std::int64_t step) const { return static_cast<double>(step) / static_cast<double>(plan_.steps_per_epoch); }

  std::string header() const {
    return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + pixels_text(kWidth) + "\" height=\"" + pixels_text(kHeight) +
           "\" viewBox=\"0 0 " + pixels_text(kWidth) + " " + pixels_text(kHeight) +
           "\">\n<style>text{font-family:sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}.name{font-size:13px}"
           ".tick,.stage{font-size:11px}.axis{stroke:#444}.grid{stroke:#e4e4e4}.edge{stroke:#888;stroke-dasharray:4 3}"
           ".branch{fill:#fdf1dd}.page{fill:#fff}polyline{fill:none;stroke-width:2}.rate{stroke:#1f5fa8}.decay{stroke:#b04a1e}"
           "</style>\n<rect width=\"100%\" height=\"100%\" class=\"page\"/>\n<text x=\"" +
           pixels_text(kLeft) + "\" y=\"22\" class=\"title\">" + escaped_for_svg(plan_.network.name) + ", global batch " +
           std::to_string(plan_.global_batch) + ", " + counted(plan_.samples, "picture") + ", " +
           counted(plan_.total_steps, "step") + "</text>\n";
  }

  void draw_stages(double bottom) {
    bool is_raised = false;
    for (const PlannedStage& stage : plan_.stages) {
      const double left = x_of(epoch_of(stage.begin)), right = x_of(epoch_of(stage.end));
      if (stage.stage.is_branch) canvas_.box(left, kTop, right - left, bottom - kTop, "branch");
      if (stage.begin > 0) canvas_.line(left, kTop - 6.0, left, bottom, "edge");
      // Names of neighbours at two heights, so that narrow stages do not write over each other.
      canvas_.text((left + right) / 2.0, is_raised ? kTop - 26.0 : kTop - 10.0, stage.stage.name, "stage", "middle");
      is_raised = !is_raised;
    }
  }

  void draw_panel(const Panel& panel) {
    double largest = 0.0;
    for (const PlannedStage& stage : plan_.stages) {
      for (const std::int64_t step : steps_pixels_text(stage)) largest = std::max(largest, panel.value(rates_at(stage, step)));
    }
    Axis axis = Axis::up_to(largest, panel.most_ticks);
    axis.top = panel.top, axis.height = panel.height, axis.left = kLeft, axis.right = kWidth - kRight;
    axis.draw(canvas_, panel.name);
    for (const PlannedStage& stage : plan_.stages) {
      std::vector<std::pair<double, double>> points;
      for (const std::int64_t step : steps_pixels_text(stage)) {
        points.emplace_back(x_of(epoch_of(step)), axis.y_of(panel.value(rates_at(stage, step))));
      }
      points.emplace_back(x_of(epoch_of(stage.end)), points.back().second);
      canvas_.curve(points, panel.style);
    }
  }

  /// Enough of a stage's steps for a smooth curve, with both sides of every jump and the end of the warm-up.
  static std::vector<std::int64_t> steps_pixels_text(const PlannedStage& stage) {
    std::vector<std::int64_t> steps;
    const std::int64_t stride = std::max<std::int64_t>(1, stage.steps() / kPointsOfStage);
    for (std::int64_t step = stage.begin; step < stage.end; step += stride) steps.push_back(step);
    const std::int64_t warm = stage.begin + warmup_steps(stage.rate);
    if (warm < stage.end) steps.push_back(warm);
    steps.push_back(stage.end - 1);
    std::sort(steps.begin(), steps.end());
    steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
    return steps;
  }

  const RunPlan& plan_;
  double epochs_;
  Canvas canvas_;
};

}  // namespace

std::string schedule_picture(const RunPlan& plan) { return SchedulePicture(plan).draw(); }

}  // namespace dtrain
