// Totals, table and file of a profile; see profile.hpp.
#include "trainer/profile.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "dtrain/error.hpp"
#include "trainer/text_file.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

/// Of one step.
double mean(const StepProfile& profile, double sum) { return sum / static_cast<double>(profile.steps.steps); }

double step_seconds(const StepProfile& profile) { return mean(profile, profile.steps.seconds); }

double compute_seconds(const StepProfile& profile) {
  return mean(profile, profile.steps.phases.forward + profile.steps.phases.backward);
}

class Totals {
 public:
  explicit Totals(double steps) : steps_(steps) {}

  /// calls: of the direction, a step.
  void add(const std::string& kind, const DirectionProfile& direction, double calls) {
    add(kind, direction.seconds / steps_, static_cast<double>(direction.flops) * calls,
        static_cast<double>(direction.bytes) * calls);
  }
  void add(const std::string& kind, double seconds, double flops = 0.0, double bytes = 0.0) {
    ProfileShare& share = shares_[kind];
    share.kind = kind;
    share.seconds += seconds, share.flops += flops, share.bytes += bytes;
    sum_ += seconds;
  }
  double sum() const { return sum_; }

  std::vector<ProfileShare> largest_first() const {
    std::vector<ProfileShare> shares;
    for (const auto& [kind, share] : shares_) shares.push_back(share);
    std::ranges::stable_sort(shares, [](const ProfileShare& a, const ProfileShare& b) { return a.seconds > b.seconds; });
    return shares;
  }

 private:
  double steps_;
  double sum_ = 0.0;
  std::map<std::string, ProfileShare> shares_;
};

Json rates(const DirectionProfile& direction, double steps, double step_s, const MachinePeaks& peaks) {
  if (direction.bytes == 0) return nullptr;
  const double seconds = direction.seconds / steps;
  const double gflops = static_cast<double>(direction.flops) / seconds / 1e9;
  const double gb_per_s = static_cast<double>(direction.bytes) / seconds / 1e9;
  return {{"ms", seconds * 1e3},
          {"share", seconds / step_s},
          {"gflops", gflops},
          {"gb_per_s", gb_per_s},
          {"of_matmul_peak", gflops / peaks.matmul_gflops},
          {"of_triad", gb_per_s / peaks.triad_gb_per_s}};
}

}  // namespace

std::vector<ProfileShare> profile_shares(const StepProfile& profile) {
  check(profile.steps.steps > 0, "a profile has steps");
  using Kind = InstructionProfile::Kind;
  Totals totals(static_cast<double>(profile.steps.steps));
  for (const InstructionProfile& instruction : profile.instructions) {
    const std::string kind = to_text(instruction.kind);
    const bool has_directions = instruction.kind == Kind::convolution || instruction.kind == Kind::linear;
    totals.add(has_directions ? kind + " forward" : kind, instruction.forward, 1.0);
    totals.add(has_directions ? kind + " backward data" : kind, instruction.backward_data, 1.0);
    totals.add(has_directions ? kind + " backward weights" : kind, instruction.backward_weights, 1.0);
    totals.add("bringing weights", instruction.bring_weights_s / static_cast<double>(profile.steps.steps));
  }
  totals.add("loss and calls", compute_seconds(profile) - totals.sum());
  totals.add("waiting for data", mean(profile, profile.steps.phases.data));
  totals.add("waiting for the exchange", mean(profile, profile.steps.phases.exchange));
  totals.add("update", mean(profile, profile.steps.phases.update));
  return totals.largest_first();
}

std::string profile_text(const StepProfile& profile) {
  const double step_s = step_seconds(profile);
  std::array<char, 160> line{};
  const auto append = [&](std::string& text, auto... values) {
    std::snprintf(line.data(), line.size(), values...);
    text += line.data();
  };
  std::string text;
  append(text, "a step takes %.1f ms; peaks: matrix product %.0f GFLOP/s, STREAM triad %.1f GB/s\n", step_s * 1e3,
         profile.peaks.matmul_gflops, profile.peaks.triad_gb_per_s);
  append(text, "%-30s %9s %7s %9s %7s\n", "", "ms", "share", "GFLOP/s", "GB/s");
  for (const ProfileShare& share : profile_shares(profile)) {
    if (share.seconds < 5e-6) continue;
    append(text, "%-30s %9.2f %6.1f%%", share.kind.c_str(), share.seconds * 1e3, 100.0 * share.seconds / step_s);
    share.flops > 0.0 ? append(text, " %9.0f", share.flops / share.seconds / 1e9) : append(text, " %9s", "");
    share.bytes > 0.0 ? append(text, " %7.1f\n", share.bytes / share.seconds / 1e9) : append(text, "%s\n", "");
  }
  return text;
}

void write_profile(const std::filesystem::path& path, const RunPlan& plan, int threads, const StepProfile& profile) {
  const double steps = static_cast<double>(profile.steps.steps);
  const double step_s = step_seconds(profile);
  Json totals = Json::array();
  for (const ProfileShare& share : profile_shares(profile)) {
    totals.push_back({{"kind", share.kind},
                      {"ms", share.seconds * 1e3},
                      {"share", share.seconds / step_s},
                      {"gflops", share.seconds > 0.0 ? share.flops / share.seconds / 1e9 : 0.0},
                      {"gb_per_s", share.seconds > 0.0 ? share.bytes / share.seconds / 1e9 : 0.0}});
  }
  Json layers = Json::array();
  for (const InstructionProfile& instruction : profile.instructions) {
    layers.push_back({{"name", instruction.name},
                      {"kind", to_text(instruction.kind)},
                      {"description", instruction.description},
                      {"forward", rates(instruction.forward, steps, step_s, profile.peaks)},
                      {"backward_data", rates(instruction.backward_data, steps, step_s, profile.peaks)},
                      {"backward_weights", rates(instruction.backward_weights, steps, step_s, profile.peaks)},
                      {"bring_weights_ms", instruction.bring_weights_s / steps * 1e3}});
  }
  const Json json{{"model", plan.network.name},
                  {"precision", to_text(plan.compile.precision)},
                  {"threads", threads},
                  {"local_batch", plan.local_batch},
                  {"steps", profile.steps.steps},
                  {"step_ms", step_s * 1e3},
                  {"matmul_gflops", profile.peaks.matmul_gflops},
                  {"triad_gb_per_s", profile.peaks.triad_gb_per_s},
                  {"totals", totals},
                  {"layers", layers}};
  write_text_file(path, "--profile", json.dump(1) + "\n");
}

}  // namespace dtrain
