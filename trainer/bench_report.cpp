// Texts of measurements; see bench_report.hpp.
#include "trainer/bench_report.hpp"

#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "trainer/rank_memory.hpp"
#include "trainer/text_table.hpp"
#include "trainer/version.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::int64_t kStepsBetweenLines = 10;

template <typename... Values>
std::string formatted(const char* format, Values... values) {
  std::array<char, 256> buffer{};
  std::snprintf(buffer.data(), buffer.size(), format, values...);
  return buffer.data();
}

std::vector<std::string> table_row(const BenchResult& result) {
  const Combination& of = result.combination;
  std::vector<std::string> row{of.model, of.precision, std::to_string(of.batch)};
  if (result.excess) {
    row.insert(row.end(), {"skipped", "", "", "", "", "", reason_text(*result.excess)});
    return row;
  }
  const Throughput& throughput = result.throughput;
  for (const double figure : {throughput.mean, throughput.uncertainty, throughput.jitter, throughput.step_median_s * 1e3,
                              result.gflops, static_cast<double>(result.planned_bytes) / 1e6}) {
    row.push_back(formatted("%.1f", figure));
  }
  row.emplace_back();
  return row;
}

Json result_json(const BenchResult& result) {
  const Combination& of = result.combination;
  Json json{{"model", of.model}, {"precision", of.precision}, {"batch", of.batch}, {"skipped", Json()}};
  if (result.excess) {
    json["skipped"] = {{"reason", reason_text(*result.excess)},
                       {"planned_bytes", result.excess->planned_bytes},
                       {"available_bytes", result.excess->available_bytes},
                       {"largest_batch", result.excess->largest}};
    return json;
  }
  const Throughput& throughput = result.throughput;
  json.update(
      Json{{"global_batch", result.global_batch},
           {"images_per_s",
            {{"mean", throughput.mean},
             {"uncertainty", throughput.uncertainty},
             {"median", throughput.median},
             {"jitter", throughput.jitter}}},
           {"step_s", {{"median", throughput.step_median_s}, {"p10", throughput.step_p10_s}, {"p90", throughput.step_p90_s}}},
           {"gflops", result.gflops},
           {"loss_last", result.loss},
           {"planned_bytes", result.planned_bytes}});
  return json;
}

Json options_json(const BenchConfig& config) {
  const TrainConfig& shared = config.training;
  Json json{{"models", config.models},   {"batches", config.batches},       {"precision", config.precision},
            {"steps", config.steps},     {"warmup", config.warmup},         {"crop", shared.crop},
            {"conv", shared.conv},       {"recompute", shared.recompute},   {"allreduce", shared.allreduce},
            {"threads", shared.threads}, {"comm_cores", shared.comm_cores}, {"bind", shared.bind},
            {"workers", shared.workers}};
  if (uses_parameter_servers(shared)) {
    json["parameter_servers"] = shared.parameter_servers;
    json["ps_mode"] = shared.ps_mode;
    if (shared.backup_workers) json["backup_workers"] = *shared.backup_workers;
    if (shared.max_staleness) json["max_staleness"] = *shared.max_staleness;
  }
  return json;
}

}  // namespace

std::string reason_text(const BatchExcess& excess) {
  return "needs " + gigabytes_text(excess.planned_bytes) + " a rank, has " + gigabytes_text(excess.available_bytes) + "; " +
         (excess.largest > 0 ? "largest batch that fits: " + std::to_string(excess.largest) : "not even one picture fits");
}

std::string heading_text(const Combination& combination, int ranks) {
  return formatted("\n%s, %s, batch %lld a rank, %d %s\n", combination.model.c_str(), combination.precision.c_str(),
                   static_cast<long long>(combination.batch), ranks, ranks == 1 ? "rank" : "ranks");
}

std::string step_line(std::int64_t step, const Throughput& so_far, double loss) {
  return formatted("%lld\timages/sec: %.1f +/- %.1f (jitter = %.1f)\t%.3f\n", static_cast<long long>(step), so_far.mean,
                   so_far.uncertainty, so_far.jitter, loss);
}

std::string skipped_line(const BatchExcess& excess) { return "skipped: " + reason_text(excess) + "\n"; }

bool has_line(std::int64_t step, std::int64_t steps) { return step == 1 || step == steps || step % kStepsBetweenLines == 0; }

std::string results_table(const std::vector<BenchResult>& results) {
  std::vector<std::vector<std::string>> rows{
      {"model", "precision", "batch", "images/s", "+/-", "jitter", "ms a step", "GFLOP/s", "MB planned", ""}};
  for (const BenchResult& result : results) rows.push_back(table_row(result));
  return table_text(rows);
}

std::string results_as_json(const BenchConfig& config, const BenchSetting& setting, const std::vector<BenchResult>& results) {
  Json json{{"machine",
             {{"cpu", setting.cpu},
              {"ranks", setting.ranks},
              {"nodes", setting.nodes},
              {"threads_per_rank", setting.threads_per_rank},
              {"placement", setting.placement},
              {"allreduce", setting.allreduce}}},
            {"versions", {{"dtrain", version_text()}}},
            {"host", setting.host},
            {"options", options_json(config)},
            {"command", setting.command},
            {"results", Json::array()}};
  for (const BenchResult& result : results) json["results"].push_back(result_json(result));
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";  // paths need not be UTF-8
}

std::string results_as_csv(const BenchSetting& setting, const std::vector<BenchResult>& results) {
  std::string text =
      "model,precision,batch,ranks,images_per_s,uncertainty,jitter,step_median_s,gflops,loss_last,planned_bytes,skipped\n";
  for (const BenchResult& result : results) {
    const Combination& of = result.combination;
    const Throughput& throughput = result.throughput;
    text +=
        formatted("%s,%s,%lld,%d,", of.model.c_str(), of.precision.c_str(), static_cast<long long>(of.batch), setting.ranks);
    text += result.excess
                ? ",,,,,,,\"" + reason_text(*result.excess) + "\"\n"
                : formatted("%.9g,%.9g,%.9g,%.9g,%.9g,%.9g,%zu,\n", throughput.mean, throughput.uncertainty, throughput.jitter,
                            throughput.step_median_s, result.gflops, result.loss, result.planned_bytes);
  }
  return text;
}

}  // namespace dtrain
