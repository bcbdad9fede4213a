// report.json; see report.hpp.
#include "trainer/report.hpp"

#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "trainer/ensemble_report.hpp"
#include "trainer/text_file.hpp"
#include "trainer/version.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

std::string hex(std::uint64_t value) {
  char text[17];
  std::snprintf(text, sizeof text, "%016llx", static_cast<unsigned long long>(value));
  return text;
}

Json phase_sums(const StepPhases& sums) {
  return {{"data", sums.data},
          {"forward", sums.forward},
          {"backward", sums.backward},
          {"exposed_exchange", sums.exchange},
          {"update", sums.update}};
}

Json memory_lines(const RankMemory& memory) {
  Json json;
  for (const RankMemory::Line& line : memory.lines()) json[line.key] = line.bytes;
  return json;
}

}  // namespace

Json preprocessing_json(const Preprocessing& preprocessing) {
  return {{"resize", preprocessing.resize},
          {"crop", preprocessing.crop},
          {"interpolation", to_text(preprocessing.interpolation)},
          {"mean", preprocessing.mean},
          {"std", preprocessing.stddev}};
}

bool is_report_of(const std::filesystem::path& path, std::int64_t steps, std::uint64_t fingerprint, bool has_ensemble) {
  std::string fault;
  const std::optional<std::string> text = read_text_file(path, fault);
  if (!text) return false;
  const Json report = Json::parse(*text, nullptr, false);
  if (!report.is_object()) return false;
  return report.value("steps", Json()) == Json(steps) && report.value("fingerprint", Json()) == Json(hex(fingerprint)) &&
         report.contains("ensemble") == has_ensemble;
}

void write_report(const std::filesystem::path& path, const RunReport& report, const Communicator& communicator) {
  const auto peak_rss = static_cast<std::int64_t>(communicator.max(static_cast<double>(peak_rss_bytes())));
  if (path.empty() || !communicator.is_root()) return;
  const RunPlan& plan = *report.plan;
  const std::optional<MetricsLine>&first = report.epochs.first_of_steps(), &last = report.epochs.last_of_steps();
  const Throughput throughput = report.steps.throughput();
  const std::int64_t flops = training_flops(plan.network);
  Json json{{"model", plan.network.name},
            {"precision", to_text(plan.compile.precision)},
            {"ranks", communicator.size()},
            {"nodes", communicator.nodes()},
            {"threads_per_rank", report.threads_per_rank},
            {"global_batch", plan.global_batch},
            {"local_batch", plan.local_batch},
            {"steps", last ? last->step : 0},
            {"images_per_s", {{"mean", throughput.mean}, {"median", throughput.median}, {"jitter", throughput.jitter}}},
            {"step_s", {{"median", throughput.step_median_s}, {"p10", throughput.step_p10_s}, {"p90", throughput.step_p90_s}}},
            {"phases_s", phase_sums(report.steps.totals().phases)},
            {"loss_first", first ? Json(first->loss) : Json()},
            {"loss_last", last ? Json(last->loss) : Json()},
            {"train", {{"top1_last_step", last ? Json(last->top1) : Json()}}},
            {"damaged", damage_json(report.damaged)},
            {"validation", Json()},
            {"class_names", plan.card.class_names},
            {"preprocessing", preprocessing_json(preprocessing_of(plan.eval_transform))},
            {"parameters", report.parameters},
            {"flops_per_image", flops},
            {"gflops_per_rank", static_cast<double>(flops) * throughput.median / communicator.size() / 1e9},
            {"fingerprint", hex(report.fingerprint)},
            {"peak_rss_bytes", peak_rss},
            {"planned_bytes", report.memory.total_bytes()},
            {"memory", memory_lines(report.memory)},
            {"allreduce", report.allreduce},
            {"placement", report.placement},
            {"epochs", epochs_json(report.epochs.rows())},
            {"best", best_json(report.ending.best, report.ending.best_file)},
            {"evaluate", report.ending.evaluation.empty() ? Json() : Json(report.ending.evaluation)},
            {"startup_s", report.startup_s},
            {"total_s", report.ending.total_s},
            {"all_parts_s", report.ending.all_parts_s},
            {"versions", {{"dtrain", version_text()}}},
            {"host", host_name()},
            {"command", report.command}};
  json["exposed_comm_s"] = report.steps.totals().phases.exchange;
  if (const auto& validation = report.epochs.last_validation()) {
    json["validation"] = {{"step", validation->step},
                          {"loss", validation->loss},
                          {"top1", validation->top1},
                          {"top5", validation->top5 ? Json(*validation->top5) : Json()},
                          {"samples", validation->samples},
                          {"damaged", {{"count", validation->left_out}, {"images", validation->left_out_images}}}};
  }
  if (report.ensemble) put_ensemble(json, report.members, *report.ensemble);
  // Paths need not be UTF-8.
  save_text_file(path, "--report or --out", json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace dtrain
