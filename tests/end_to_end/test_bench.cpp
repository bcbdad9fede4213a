// Measuring training speed: every combination, alone and on two ranks, and the ones that do not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

struct Measurement {
  fs::path json = new_path("bench.json");
  fs::path csv = new_path("bench.csv");
  Outcome outcome;

  Measurement(int ranks, std::vector<std::string> arguments) {
    const std::vector<std::string> common{"--steps", "3",      "--warmup",    "1",     "--threads",
                                          "1",       "--json", json.string(), "--csv", csv.string()};
    arguments.insert(arguments.begin(), "bench");
    arguments.insert(arguments.end(), common.begin(), common.end());
    outcome = run({.ranks = ranks, .arguments = arguments});
  }
};

std::ptrdiff_t lines_of(const fs::path& file) {
  const std::string text = read_text(file);
  return std::ranges::count(text, '\n');
}

class BenchOnRanks : public testing::TestWithParam<int> {};

TEST_P(BenchOnRanks, MeasuresEveryCombination) {
  const int ranks = GetParam();
  const Measurement measured(ranks, {"--models", "resnet20,lenet5", "--batches", "1,4"});
  ASSERT_EQ(measured.outcome.exit_code, 0) << measured.outcome;

  const Json json = read_json(measured.json);
  ASSERT_EQ(json.at("results").size(), 4U);
  EXPECT_EQ(json.at("machine").at("ranks"), std::max(ranks, 1));
  EXPECT_EQ(json.at("options").at("steps"), 3);
  for (std::size_t i = 0; i < 4; ++i) {
    const Json& result = json.at("results").at(i);
    SCOPED_TRACE(result.dump(2));
    EXPECT_EQ(result.at("model"), i < 2 ? "resnet20" : "lenet5");
    EXPECT_EQ(result.at("batch"), i % 2 == 0 ? 1 : 4);
    EXPECT_EQ(result.at("global_batch"), (i % 2 == 0 ? 1 : 4) * std::max(ranks, 1));
    EXPECT_TRUE(result.at("skipped").is_null());
    EXPECT_GT(result.at("images_per_s").at("mean").get<double>(), 0.0);
    EXPECT_GE(result.at("images_per_s").at("jitter").get<double>(), 0.0);
    EXPECT_GT(result.at("gflops").get<double>(), 0.0);
    EXPECT_GT(result.at("planned_bytes").get<double>(), 1e6);
  }
  EXPECT_EQ(lines_of(measured.csv), 1 + 4);
}

INSTANTIATE_TEST_SUITE_P(AloneAndTogether, BenchOnRanks, testing::Values(0, 2));

TEST(Bench, PrintsTheLinesThatScriptsParseOnceForAllRanks) {
  const Measurement measured(2, {"--models", "lenet5", "--batches", "2"});
  ASSERT_EQ(measured.outcome.exit_code, 0) << measured.outcome;

  EXPECT_EQ(measured.outcome.count("lenet5, fp32, batch 2 a rank, 2 ranks\n"), 1) << measured.outcome;
  EXPECT_EQ(measured.outcome.count("Step\tImg/sec\ttotal_loss\n"), 1) << measured.outcome;
  EXPECT_EQ(measured.outcome.count("total images/sec: "), 1) << measured.outcome;
  const std::regex line(R"((\d+)\timages/sec: \d+\.\d \+/- \d+\.\d \(jitter = \d+\.\d\)\t\d+\.\d{3}\n)");
  std::string steps;
  const std::string& output = measured.outcome.output;
  for (std::sregex_iterator match(output.begin(), output.end(), line), end; match != end; ++match) {
    steps += (*match)[1].str() + " ";
  }
  EXPECT_EQ(steps, "1 3 ") << measured.outcome;
}

// The same network at the same batch, alone and after a much larger one: what is planned starts with what the process holds,
// which would show what was not released.
TEST(Bench, ReleasesTheMemoryOfACombinationBeforeTheNext) {
  const Measurement measured(0, {"--models", "lenet5,alexnet,resnet20", "--batches", "8"});
  const Measurement alone(0, {"--models", "resnet20", "--batches", "8"});
  ASSERT_EQ(measured.outcome.exit_code, 0) << measured.outcome;
  ASSERT_EQ(alone.outcome.exit_code, 0) << alone.outcome;

  const auto planned = [](const Measurement& of, std::size_t index) {
    return read_json(of.json).at("results").at(index).at("planned_bytes").get<double>();
  };
  // AlexNet's weights, gradients and velocity alone are 733 MB. What stays is code that was loaded or generated.
  EXPECT_NEAR(planned(measured, 2), planned(alone, 0), 60e6) << measured.outcome;
}

// The largest batch that may be asked for takes about 1.3 TB at this size.
TEST(Bench, LeavesOutWhatDoesNotFitAndMeasuresTheRest) {
  const Measurement measured(2, {"--models", "resnet20", "--crop", "128", "--batches", "1,65536,2"});
  ASSERT_EQ(measured.outcome.exit_code, 0) << measured.outcome;

  const Json results = read_json(measured.json).at("results");
  ASSERT_EQ(results.size(), 3U);
  SCOPED_TRACE(results.dump(2));
  EXPECT_GT(results.at(0).at("images_per_s").at("mean"), 0.0);
  EXPECT_GT(results.at(2).at("images_per_s").at("mean"), 0.0);
  const Json& skipped = results.at(1).at("skipped");
  EXPECT_GT(skipped.at("planned_bytes").get<double>(), skipped.at("available_bytes").get<double>());
  EXPECT_GT(skipped.at("largest_batch"), 2);
  EXPECT_LT(skipped.at("largest_batch"), 65536);
  const std::string reason = skipped.at("reason");
  EXPECT_TRUE(measured.outcome.says("skipped: " + reason + "\n")) << measured.outcome;
  EXPECT_EQ(measured.outcome.count(reason), 2) << "once while it measures, once in the table: " << measured.outcome;
  EXPECT_NE(read_text(measured.csv).find("resnet20,fp32,65536,2,,,,,,,,\"" + reason + "\"\n"), std::string::npos);
}

TEST(Bench, IsAUsageErrorWhenNothingFits) {
  const Measurement measured(0, {"--models", "resnet20", "--crop", "128", "--batches", "65536"});

  EXPECT_EQ(measured.outcome.exit_code, 2) << measured.outcome;
  EXPECT_TRUE(measured.outcome.says("largest batch that fits")) << measured.outcome;
}

TEST(Bench, RefusesAFileThatCannotBeWrittenBeforeItMeasures) {
  const Outcome outcome = run({.arguments = {"bench", "--models", "lenet5", "--json", "/nonexistent/bench.json"}});

  expect_refused(outcome, {"/nonexistent/bench.json", "--json"});
}

}  // namespace
}  // namespace dtrain
