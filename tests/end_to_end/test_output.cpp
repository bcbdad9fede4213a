// What scripts read: the throughput line, the metrics of every step, the report at the end, and where the files are.
#include <gtest/gtest.h>

#include <cmath>
#include <regex>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

struct FinishedRun {
  fs::path out = new_path("run");
  Outcome outcome = run({.ranks = 2,
                         .arguments = training_into(out, {"--global-batch", "16", "--steps", "12", "--log-every", "4",
                                                          "--schedule", "constant", "--warmup-epochs", "1", "--lr", "0.5"})});
};

/// Twelve steps on two ranks: two epochs of five, and two steps.
const FinishedRun& reported_run() {
  static const FinishedRun finished;
  return finished;
}

TEST(Output, EndsWithTheThroughputOfAllRanks) {
  const FinishedRun& finished = reported_run();

  ASSERT_EQ(finished.outcome.exit_code, 0) << finished.outcome;
  EXPECT_EQ(finished.outcome.count("total images/sec: "), 1) << finished.outcome;
  std::smatch match;
  ASSERT_TRUE(std::regex_search(finished.outcome.output, match, std::regex(R"((^|\n)total images/sec: (\d+\.\d\d)\n$)")))
      << finished.outcome;
  const double mean = read_json(finished.out / "report.json").at("images_per_s").at("mean");
  EXPECT_NEAR(std::stod(match[2]), mean, 0.005 + 1e-9);
}

// Warm-up steps are left out: a fifth of the run, at least one, at most ten; two of twelve.
TEST(Output, CountsThroughputWithoutTheWarmUpSteps) {
  const auto steps = metrics_lines(reported_run().out / "metrics.jsonl", "loss");
  double samples = 0.0;
  double seconds = 0.0;
  for (std::size_t i = 2; i < steps.size(); ++i) {
    samples += steps[i].at("samples").get<double>();
    seconds += steps[i].at("step_s").get<double>();
  }

  const double mean = read_json(reported_run().out / "report.json").at("images_per_s").at("mean");

  EXPECT_NEAR(mean, samples / seconds, 1e-6 * mean);
}

TEST(Output, WithoutATerminalIsPlainLines) {
  const Outcome& outcome = reported_run().outcome;

  EXPECT_EQ(outcome.count("\r"), 0) << outcome;
  EXPECT_EQ(outcome.count("\033"), 0) << outcome;
  for (const std::string step : {"step 1/12", "step 4/12", "step 8/12", "step 12/12"})
    EXPECT_EQ(outcome.count(step), 1) << outcome;
  EXPECT_EQ(outcome.count("step 5/12"), 0) << outcome;
}

TEST(Output, NamesWhatWasWrittenAndTellsThePlanFirst) {
  const FinishedRun& finished = reported_run();

  for (const fs::path& file :
       {finished.out / "last.safetensors", finished.out / "checkpoints", finished.out / "metrics.jsonl"}) {
    EXPECT_TRUE(finished.outcome.says(file.string())) << file << " in " << finished.outcome;
    EXPECT_TRUE(fs::exists(file)) << file;
  }
  EXPECT_TRUE(finished.outcome.says("memory plan: ")) << finished.outcome;
  const std::string log = read_text(finished.out / "log.txt");
  EXPECT_NE(log.find("269722 parameters"), std::string::npos) << log;
}

TEST(Metrics, HaveOneLineForEveryStep) {
  const auto steps = metrics_lines(reported_run().out / "metrics.jsonl", "loss");

  ASSERT_EQ(steps.size(), 12U);
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Json& step = steps[i];
    SCOPED_TRACE(step.dump());
    EXPECT_EQ(step.at("step"), i + 1);
    EXPECT_NEAR(step.at("epoch").get<double>(), static_cast<double>(i + 1) / 5.0, 1e-12);
    EXPECT_EQ(step.at("samples"), 16);
    EXPECT_GT(step.at("loss").get<double>(), 0.0);
    // Linear from 0 over five steps, then constant.
    EXPECT_NEAR(step.at("lr").get<double>(), i < 5 ? 0.1 * static_cast<double>(i) : 0.5, 1e-7);
    EXPECT_NEAR(step.at("weight_decay").get<double>(), 1e-4, 1e-10);
    const double step_s = step.at("step_s");
    EXPECT_NEAR(step.at("images_per_s").get<double>(), 16.0 / step_s, 1e-6 * 16.0 / step_s);
    double phases_s = 0.0;
    for (const char* phase : {"data_s", "forward_s", "backward_s", "update_s", "exposed_comm_s"}) {
      EXPECT_GE(step.at(phase).get<double>(), 0.0) << phase;
      phases_s += step.at(phase).get<double>();
    }
    EXPECT_LE(phases_s, step_s * 1.01);
  }
}

TEST(Metrics, HaveOneLineForEveryEvaluation) {
  const auto evaluations = metrics_lines(reported_run().out / "metrics.jsonl", "val_loss");

  EXPECT_EQ(whole_numbers(evaluations, "step"), (std::vector<std::int64_t>{5, 10, 12}));
  for (const Json& line : evaluations) {
    EXPECT_EQ(line.at("val_samples"), kValPictures);
    EXPECT_GE(line.at("val_top5").get<double>(), line.at("val_top1").get<double>());
  }
}

TEST(Report, SaysWhatRanAndHowItWent) {
  const FinishedRun& finished = reported_run();
  const Json report = read_json(finished.out / "report.json");
  const auto steps = metrics_lines(finished.out / "metrics.jsonl", "loss");
  const auto evaluations = metrics_lines(finished.out / "metrics.jsonl", "val_loss");
  SCOPED_TRACE(report.dump(2));

  EXPECT_EQ(report.at("model"), "resnet20");
  EXPECT_EQ(report.at("precision"), "fp32");
  EXPECT_EQ(report.at("ranks"), 2);
  EXPECT_EQ(report.at("nodes"), 1);
  EXPECT_EQ(report.at("threads_per_rank"), 1);
  EXPECT_EQ(report.at("global_batch"), 16);
  EXPECT_EQ(report.at("local_batch"), 8);
  EXPECT_EQ(report.at("steps"), 12);
  EXPECT_EQ(report.at("parameters"), 269722);
  // Forward, backward data and backward weights; a picture takes 40.6 million multiply-adds forward (the networks' paper
  // counts 40.55).
  EXPECT_NEAR(report.at("flops_per_image").get<double>(), 3.0 * 2.0 * 40.55e6, 1e6);
  EXPECT_EQ(report.at("loss_first"), steps.front().at("loss"));
  EXPECT_EQ(report.at("loss_last"), steps.back().at("loss"));
  EXPECT_EQ(report.at("train").at("top1_last_step"), steps.back().at("top1"));
  EXPECT_EQ(report.at("validation").at("top1"), evaluations.back().at("val_top1"));
  EXPECT_EQ(report.at("validation").at("loss"), evaluations.back().at("val_loss"));
  EXPECT_TRUE(std::regex_match(report.at("fingerprint").get<std::string>(), std::regex("[0-9a-f]{16}")));
}

TEST(Profile, AccountsForTheStepByLayerAndKind) {
  const fs::path file = new_path("profile.json");
  const Outcome outcome = run({.ranks = 0,
                               .arguments = {"--model", "resnet20", "--global-batch", "8", "--steps", "4", "--threads", "1",
                                             "--profile", file.string()}});
  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json profile = read_json(file);

  EXPECT_TRUE(outcome.says("convolution backward weights")) << outcome;
  EXPECT_EQ(profile.at("steps"), 3);  // the first one warms up
  EXPECT_GT(profile.at("matmul_gflops").get<double>(), 0.0);
  EXPECT_GT(profile.at("triad_gb_per_s").get<double>(), 0.0);
  double totals_ms = 0.0;
  for (const Json& total : profile.at("totals")) totals_ms += total.at("ms").get<double>();
  EXPECT_NEAR(totals_ms, profile.at("step_ms").get<double>(), 0.02 * totals_ms);
  EXPECT_EQ(profile.at("layers").at(0).at("name"), "conv1");
  EXPECT_TRUE(profile.at("layers").at(0).at("backward_data").is_null());
  EXPECT_GT(profile.at("layers").at(0).at("forward").at("gflops").get<double>(), 0.0);
}

TEST(Report, HoldsTimesRatesAndMemory) {
  const Json report = read_json(reported_run().out / "report.json");
  SCOPED_TRACE(report.dump(2));

  for (const char* field : {"mean", "median"}) EXPECT_GT(report.at("images_per_s").at(field).get<double>(), 0.0);
  EXPECT_GE(report.at("images_per_s").at("jitter").get<double>(), 0.0);
  const Json& step_s = report.at("step_s");
  EXPECT_LE(step_s.at("p10").get<double>(), step_s.at("median").get<double>());
  EXPECT_LE(step_s.at("median").get<double>(), step_s.at("p90").get<double>());
  for (const auto& [phase, seconds] : report.at("phases_s").items()) EXPECT_GE(seconds.get<double>(), 0.0) << phase;
  EXPECT_EQ(report.at("phases_s").size(), 5U);
  EXPECT_GE(report.at("exposed_comm_s").get<double>(), 0.0);
  EXPECT_GT(report.at("gflops_per_rank").get<double>(), 0.0);
  EXPECT_GT(report.at("planned_bytes").get<double>(), 4.0 * 3.0 * 269722.0) << "weights, gradients and velocity at least";
  EXPECT_GT(report.at("peak_rss_bytes").get<double>(), report.at("planned_bytes").get<double>() / 10.0);
  EXPECT_FALSE(report.at("versions").at("dtrain").get<std::string>().empty());
  EXPECT_FALSE(report.at("host").get<std::string>().empty());
}

TEST(SyntheticData, IsSaidLoudlyAndNeedsNoFiles) {
  const fs::path report = new_path("report.json");
  const Outcome outcome = run({.ranks = 2,
                               .arguments = {"--model", "lenet5", "--global-batch", "8", "--steps", "3", "--threads", "1",
                                             "--report", report.string()}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_TRUE(outcome.says("warning: training on synthetic pictures")) << outcome;
  EXPECT_TRUE(outcome.says("warning: nothing will be saved")) << outcome;
  EXPECT_TRUE(read_json(report).at("validation").is_null());
}

}  // namespace
}  // namespace dtrain
