// Statistics of throughput, of steps whose durations are chosen; lines of the metrics file.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "trainer/metrics.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::json;

/// Steps of 8 pictures at these rates.
std::vector<StepReport> steps_at(const std::vector<double>& images_per_s) {
  std::vector<StepReport> steps;
  for (const double rate : images_per_s) {
    steps.push_back({.step = std::ssize(steps) + 1, .samples = 8, .step_s = 8.0 / rate});
  }
  return steps;
}

TEST(Throughput, IsThatOfTfCnnBenchmarks) {
  const Throughput throughput = throughput_of(steps_at({1.0, 2.0, 4.0, 8.0}));

  // 32 pictures in 8 + 4 + 2 + 1 seconds.
  EXPECT_DOUBLE_EQ(throughput.mean, 32.0 / 15.0);
  EXPECT_DOUBLE_EQ(throughput.median, 3.0);
  // Mean of the rates 3.75: squares 7.5625 + 3.0625 + 0.0625 + 18.0625 = 28.75; √(28.75 / 4) / √4.
  EXPECT_DOUBLE_EQ(throughput.uncertainty, std::sqrt(28.75 / 4.0) / 2.0);
  // Distances from 3: 1, 1, 2, 5; their median 1.5.
  EXPECT_DOUBLE_EQ(throughput.jitter, 1.4826 * 1.5);
  EXPECT_DOUBLE_EQ(throughput.step_median_s, 3.0);
}

TEST(Throughput, OfOneStepHasNoSpread) {
  const Throughput throughput = throughput_of(steps_at({4.0}));

  EXPECT_DOUBLE_EQ(throughput.mean, 4.0);
  EXPECT_EQ(throughput.uncertainty, 0.0);
  EXPECT_EQ(throughput.jitter, 0.0);
}

TEST(Throughput, OfNoStepsIsZero) { EXPECT_EQ(throughput_of({}).mean, 0.0); }

TEST(WarmupSteps, AreAFifthOfARunAndTenAtMost) {
  EXPECT_EQ(warmup_steps_of(0), 0);
  EXPECT_EQ(warmup_steps_of(1), 0);
  EXPECT_EQ(warmup_steps_of(2), 1);
  EXPECT_EQ(warmup_steps_of(12), 2);
  EXPECT_EQ(warmup_steps_of(1000), 10);
}

Json written(const StepReport& report) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "dtrain_metrics.jsonl";
  {
    MetricsFile metrics(path, 0);
    metrics.write(report, "");
  }
  std::ifstream file(path);
  return Json::parse(file);
}

TEST(MetricsFile, HasTheAuxiliaryLossBesideTheMainOneWhereThereIsOne) {
  const Json with = written({.step = 1, .loss = 2.0, .aux_loss = 0.5, .step_s = 1.0});
  const Json without = written({.step = 1, .loss = 2.0, .step_s = 1.0});

  EXPECT_EQ(with.at("loss"), 2.0);
  EXPECT_EQ(with.at("aux_loss"), 0.5);
  EXPECT_EQ(without.at("loss"), 2.0);
  EXPECT_FALSE(without.contains("aux_loss"));
}

std::string text_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// What is left of a metrics file of this text when a run goes on after step 2.
std::string left_after_two(const std::string& text, EpochRows* earlier = nullptr) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / "dtrain_metrics.jsonl";
  std::ofstream(path) << text;
  MetricsFile(path, 2, earlier);
  return text_in(path);
}

TEST(MetricsFile, OfARunThatGoesOnHasItsEarlierStepsOnce) {
  const std::string first = R"({"step":1,"epoch":0.5,"loss":3.0,"top1":0.1,"samples":8})"
                            "\n";
  const std::string second = R"({"step":2,"epoch":1.0,"loss":2.0,"top1":0.2,"samples":8})"
                             "\n";
  const std::string third = R"({"step":3,"epoch":1.5,"loss":1.0,"top1":0.3,"samples":8})"
                            "\n";
  EpochRows rows;

  EXPECT_EQ(left_after_two(first + second + third, &rows), first + second);
  EXPECT_EQ(left_after_two(first + second + third.substr(0, 20)), first + second) << "as a killed run leaves it";
  EXPECT_EQ(left_after_two(first + second), first + second);
  EXPECT_EQ(left_after_two(""), "");

  EXPECT_EQ(rows.first_of_steps()->loss, 3.0);
  EXPECT_EQ(rows.last_of_steps()->step, 2);
}

TEST(MetricsFile, GoesOnWhereSomebodyElseWroteIntoIt) {
  const std::string second = R"({"step":2,"epoch":1.0,"loss":2.0,"top1":0.2,"samples":8})"
                             "\n";
  const std::string third = R"({"step":3,"epoch":1.5,"loss":1.0,"top1":0.3,"samples":8})"
                            "\n";
  for (const std::string foreign : {R"({"step":"x"})", R"({"step":null})", R"({"step":[3]})", R"({"remark":"mine"})", "{}"}) {
    EXPECT_EQ(left_after_two(foreign + "\n" + second), foreign + "\n" + second) << "nobody's to remove";
    EXPECT_EQ(left_after_two(third + foreign + "\n" + second), foreign + "\n" + second);
  }
  for (const std::string foreign : {"3", "not JSON", R"({"step":1)", "", R"("text")"}) {
    EXPECT_EQ(left_after_two(foreign + "\n" + second), second) << "readers of JSON lines expect objects";
  }
  EXPECT_EQ(left_after_two(R"({"step":1e300})"
                           "\n" +
                           second),
            second);
}

TEST(TotalLine, IsWhatScriptsLookFor) { EXPECT_EQ(total_line({.mean = 1656.8249}), "total images/sec: 1656.82\n"); }

}  // namespace
}  // namespace dtrain
