// From metrics files to a drawing; see plot_run.hpp.
#include "trainer/plot_run.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>

#include "dtrain/error.hpp"
#include "trainer/output_files.hpp"
#include "trainer/text_file.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

fs::path metrics_of(const std::string& run) {
  std::error_code error;
  return fs::is_directory(run, error) ? fs::path(run) / "metrics.jsonl" : fs::path(run);
}

/// Lines by step; of those that a step has several of, the last one counts.
struct LinesByStep {
  std::map<std::int64_t, MetricsLine> lines;
  std::int64_t repeated = 0;

  void add(MetricsLine line) {
    const std::int64_t step = line.step;
    if (!lines.insert_or_assign(step, std::move(line)).second) ++repeated;
  }
};

fs::path drawing_of(const PlotConfig& config) {
  if (!config.out.empty()) return config.out;
  return config.runs.size() == 1 ? metrics_of(config.runs.front()).parent_path() / "plot.svg" : fs::path("plot.svg");
}

/// With the run in front of each row, where there are several.
std::string csv_of(const std::vector<RunHistory>& runs) {
  if (runs.size() == 1) return epochs_csv(runs.front().epochs.rows());
  std::string text;
  for (const RunHistory& run : runs) {
    std::string name = "\"";
    for (const char letter : run.name) name += letter == '"' ? std::string("\"\"") : std::string(1, letter);
    std::istringstream lines(epochs_csv(run.epochs.rows()));
    std::string line;
    std::getline(lines, line);
    if (text.empty()) text += "run," + line + "\n";
    while (std::getline(lines, line)) text += name + "\"," + line + "\n";
  }
  return text;
}

std::string summary_of(const RunHistory& run) {
  std::array<char, 96> best{};
  if (const auto& evaluation = run.epochs.best()) {
    std::snprintf(best.data(), best.size(), "; best validation top-1 %.2f %% at epoch %.2f", 100.0 * evaluation->top1,
                  evaluation->epoch);
  }
  std::array<char, 48> epochs{};
  std::snprintf(epochs.data(), epochs.size(), " to epoch %.2f", run.steps.back().epoch);
  return visible_text(run.name) + ": " + counted(std::ssize(run.steps), "step") + epochs.data() + best.data() + "\n";
}

}  // namespace

ReadRun read_run(const std::string& run) {
  const fs::path path = metrics_of(run);
  std::string fault;
  const std::optional<std::string> metrics = read_text_file(path, fault);
  if (!metrics) {
    throw DataError(Fault{.doing = "reading the metrics of " + run,
                          .expected = path.string() + ", as a run with --out writes it",
                          .found = fault,
                          .remedy = "dtrain plot DIR with the DIR of --out, or the FILE of --metrics"});
  }
  LinesByStep steps, validations;
  std::int64_t unreadable = 0, not_finite = 0;
  std::istringstream lines(*metrics);
  for (std::string text; std::getline(lines, text);) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto line = parse_metrics_line(text);
    if (!line) {
      ++unreadable;
      continue;
    }
    if (!std::isfinite(line->loss)) ++not_finite;
    (line->is_validation ? validations : steps).add(std::move(*line));
  }
  if (steps.lines.empty()) {
    throw DataError(Fault{.doing = "drawing " + path.string(),
                          .expected = "a line of JSON for each step of a run",
                          .found = unreadable == 0 ? "none" : "only " + counted(unreadable, "line") + " of something else",
                          .remedy = "the DIR of a run that has done a step"});
  }

  ReadRun read{.history = {.name = run}};
  RunHistory& history = read.history;
  if (steps.lines.begin()->first > 1) history.epochs.mark_partial();
  auto validation = validations.lines.begin();
  for (const auto& [number, step] : steps.lines) {
    history.epochs.add(step);
    history.steps.push_back(step);
    for (; validation != validations.lines.end() && validation->first <= number; ++validation) {
      history.epochs.add(validation->second);
      history.validations.push_back(validation->second);
    }
  }
  history.epochs.end_row();
  const auto say = [&](std::int64_t count, const std::string& one, const std::string& many, const std::string& what) {
    if (count > 0) read.remarks.push_back(run + ": " + counted(count, one, many) + what);
  };
  say(unreadable, "line", "lines", " could not be read and left out");
  say(steps.repeated + validations.repeated, "line", "lines", " of steps that come again: the last of each counts");
  say(not_finite, "loss is", "losses are", " not finite: a gap in the curve");
  return read;
}

std::string plot_runs(const PlotConfig& config) {
  std::vector<RunHistory> runs;
  std::string text;
  for (const std::string& run : config.runs) {
    ReadRun read = read_run(run);
    text += summary_of(read.history);
    for (const std::string& remark : read.remarks) text += visible_text(remark) + "\n";
    runs.push_back(std::move(read.history));
  }
  const fs::path drawing = drawing_of(config);
  const fs::path table = config.csv.empty() ? fs::path(drawing).replace_extension(".csv") : fs::path(config.csv);
  std::vector<NamedFile> metrics;
  for (const std::string& run : config.runs) metrics.push_back({.option = run, .path = metrics_of(run)});
  require_sound_outputs({{.option = "--out", .path = drawing, .mark = output_mark::drawing},
                         {.option = "--csv", .path = table, .mark = output_mark::epochs_csv}},
                        metrics);
  write_text_file(drawing, "--out", run_picture(runs));
  write_text_file(table, "--csv", csv_of(runs));
  return text + "drawn in " + visible_text(drawing.string()) + "; a row an epoch in " + visible_text(table.string()) + "\n";
}

}  // namespace dtrain
