// Paths of a training run; see run_outputs.hpp.
#include "trainer/run_outputs.hpp"

#include "dtrain/checkpoint.hpp"

namespace dtrain {
namespace {

std::filesystem::path path_or(const std::string& asked, const std::string& out, const char* default_name) {
  if (!asked.empty()) return asked;
  return out.empty() ? std::filesystem::path() : std::filesystem::path(out) / default_name;
}

}  // namespace

std::filesystem::path report_path(const TrainConfig& config) { return path_or(config.report, config.out, "report.json"); }
std::filesystem::path metrics_path(const TrainConfig& config) { return path_or(config.metrics, config.out, "metrics.jsonl"); }

std::vector<NamedFile> training_outputs(const TrainConfig& config) {
  std::vector<NamedFile> files{{.option = "--report",
                                .path = report_path(config),
                                .mark = output_mark::report,
                                .is_no_link = config.report.empty(),
                                .run = config.out},
                               {.option = "--profile", .path = config.profile, .mark = output_mark::profile, .run = config.out},
                               {.option = "--metrics",
                                .path = metrics_path(config),
                                .mark = output_mark::metrics,
                                .is_no_link = config.metrics.empty(),
                                .run = config.out}};
  if (config.out.empty()) return files;
  const CheckpointPaths paths{.out = config.out};
  for (const auto& path : {paths.last(), paths.best(), paths.average()}) {
    files.push_back({.option = "--out", .path = path, .is_replaced = true, .run = config.out});
  }
  files.push_back({.option = "--out", .path = paths.out / "log.txt", .run = config.out});
  return files;
}

std::vector<NamedFile> training_inputs(const TrainConfig& config) {
  const bool resumes_file = config.resume != "off" && config.resume != "auto";
  return {{.option = "--init-from", .path = config.init_from},
          {.option = "--resume", .path = resumes_file ? config.resume : std::string()}};
}

}  // namespace dtrain
