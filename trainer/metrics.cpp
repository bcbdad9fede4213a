// Metrics file and statistics; see metrics.hpp.
#include "trainer/metrics.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>
#include <system_error>

#include "dtrain/error.hpp"
#include "trainer/text_file.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

double quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0.0;
  std::ranges::sort(values);
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(at);
  const std::size_t above = std::min(below + 1, values.size() - 1);
  const double weight = at - static_cast<double>(below);
  return values[below] * (1.0 - weight) + values[above] * weight;
}

/// Of the values themselves, as numpy.std: divided by their number.
double standard_deviation(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0.0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / count);
}

/// NaN and infinity are not JSON: written as text.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(std::to_string(value)); }

/// What has no number of a step is not a run's, and nobody's to remove.
bool is_of_later_step(const Json& entry, std::int64_t step) {
  const auto found = entry.find("step");
  return found != entry.end() && found->is_number() && found->get<double>() > static_cast<double>(step);
}

[[noreturn]] void throw_unwritten(const std::filesystem::path& path, const std::string& found) {
  throw DataError(Fault{.doing = "writing metrics to " + path.string(),
                        .expected = "a file that can be written",
                        .found = found,
                        .remedy = "another --metrics or --out"});
}

}  // namespace

std::int64_t warmup_steps_of(std::int64_t steps) {
  return steps < 2 ? 0 : std::clamp<std::int64_t>(steps / 5, 1, kMostWarmupSteps);
}

Throughput throughput_of(std::span<const StepReport> steps) {
  std::vector<double> rates;
  std::vector<double> times;
  double images = 0.0;
  double total_s = 0.0;
  for (const StepReport& step : steps) {
    rates.push_back(static_cast<double>(step.samples) / step.step_s);
    times.push_back(step.step_s);
    images += static_cast<double>(step.samples);
    total_s += step.step_s;
  }
  if (rates.empty()) return {};
  const double median = quantile(rates, 0.5);
  std::vector<double> deviations;
  for (const double rate : rates) deviations.push_back(std::abs(rate - median));
  return {.mean = images / total_s,
          .median = median,
          .uncertainty = standard_deviation(rates) / std::sqrt(static_cast<double>(rates.size())),
          .jitter = 1.4826 * quantile(deviations, 0.5),
          .step_median_s = quantile(times, 0.5),
          .step_p10_s = quantile(times, 0.1),
          .step_p90_s = quantile(times, 0.9)};
}

std::string total_line(const Throughput& throughput) {
  char text[64];
  std::snprintf(text, sizeof text, "total images/sec: %.2f\n", throughput.mean);
  return text;
}

MetricsFile::MetricsFile(const std::filesystem::path& path, std::int64_t first_step, EpochRows* earlier) : path_(path) {
  if (path.empty()) return;
  std::error_code error;
  const bool goes_on = first_step > 0 && std::filesystem::is_regular_file(path, error);  // a pipe has no earlier lines
  if (goes_on) keep_lines(first_step, earlier);
  const AwaitedReader reader(path, "--metrics");
  file_.open(path, goes_on ? std::ios::app : std::ios::trunc);
  write_line("");
}

void MetricsFile::keep_lines(std::int64_t first_step, EpochRows* earlier) const {
  std::string fault, kept;
  const std::optional<std::string> read = read_text_file(path_, fault);
  if (!read) throw_unwritten(path_, "that it cannot be read, for its earlier lines: " + fault);
  const std::string& all = *read;
  int foreign = 0;
  for (std::size_t begin = 0; begin < all.size();) {
    const std::size_t end = all.find('\n', begin);
    if (end == std::string::npos) break;  // half a line, as a killed run leaves it
    const std::string line = all.substr(begin, end - begin);
    begin = end + 1;
    const Json entry = Json::parse(line, nullptr, false);
    if (!entry.is_object()) ++foreign;
    if (!entry.is_object() || is_of_later_step(entry, first_step)) continue;
    kept += line + "\n";
    if (const auto known = parse_metrics_line(line); known && earlier != nullptr) earlier->add(*known);
  }
  if (foreign > 0) spdlog::warn("{}: left out {} that a run had not written", path_.string(), counted(foreign, "line"));
  if (kept == all) return;
  // Never empty in between: a run that is killed now has its earlier lines.
  if (!all.starts_with(kept)) return replace_text_file(path_, kept);
  std::error_code error;
  std::filesystem::resize_file(path_, kept.size(), error);
  if (error) throw_unwritten(path_, error.message());
}

void MetricsFile::write_line(const std::string& line) {
  if (path_.empty()) return;
  file_ << line;
  if (!file_) throw_unwritten(path_, "an error of the file system (full, read-only, or no such directory)");
}

void MetricsFile::write(const StepReport& report, const std::string& stage) {
  if (path_.empty()) return;
  Json line{{"step", report.step},
            {"epoch", report.epoch},
            {"loss", number(report.loss)},
            {"top1", number(report.top1)},
            {"lr", report.learning_rate},
            {"weight_decay", report.weight_decay},
            {"samples", report.samples},
            {"images_per_s", static_cast<double>(report.samples) / report.step_s},
            {"step_s", report.step_s},
            {"data_s", report.phases.data},
            {"forward_s", report.phases.forward},
            {"backward_s", report.phases.backward},
            {"update_s", report.phases.update},
            {"exposed_comm_s", report.phases.exchange},
            {"comm_s", report.exchange_s}};
  if (!stage.empty()) line["stage"] = stage;
  if (report.aux_loss) line["aux_loss"] = number(*report.aux_loss);
  write_line(line.dump() + "\n");
}

void MetricsFile::write_evaluation(const StepReport& step, const EvaluationResult& result, const std::string& stage) {
  if (path_.empty()) return;
  Json line{{"step", step.step},
            {"epoch", step.epoch},
            {"val_loss", number(result.loss())},
            {"val_top1", number(result.top1())},
            {"val_top5", result.has_top5() ? number(result.top5()) : Json()},
            {"val_samples", result.sums.samples},
            {"val_damaged", result.left_out.count()},
            {"val_s", result.seconds}};
  if (result.left_out.count() > 0) line["val_damaged_images"] = result.left_out.names;
  if (!stage.empty()) line["stage"] = stage;
  write_line(line.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");  // paths need not be UTF-8
  flush();
}

void MetricsFile::flush() {
  if (path_.empty()) return;
  file_.flush();
  write_line("");
}

void MetricsFile::flush_to_disk() {
  if (path_.empty()) return;
  flush();
  const int descriptor = open(path_.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) return;
  (void)fsync(descriptor);  // pipes and terminals have no disk
  close(descriptor);
}

std::int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

}  // namespace dtrain
