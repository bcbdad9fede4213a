// Texts of measurements: the lines that scripts parse, and what is told of a combination that did not fit.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "trainer/bench_report.hpp"

namespace dtrain {
namespace {

const Throughput kThroughput{.mean = 1000.04,
                             .median = 1001.0,
                             .uncertainty = 2.34,
                             .jitter = 4.5,
                             .step_median_s = 0.032,
                             .step_p10_s = 0.031,
                             .step_p90_s = 0.033};

std::vector<BenchResult> two_results() {
  return {{.combination = {"resnet50", "fp32", 16},
           .global_batch = 32,
           .throughput = kThroughput,
           .gflops = 24000.0,
           .loss = 7.1234,
           .planned_bytes = 1'234'000'000},
          {.combination = {"vgg16", "fp32", 4096},
           .excess =
               BatchExcess{.batch = 4096, .planned_bytes = 88'100'000'000, .available_bytes = 21'000'000'000, .largest = 900}}};
}

TEST(BenchLines, AreThoseOfTfCnnBenchmarks) {
  EXPECT_EQ(step_line(10, {.mean = 1000.0, .uncertainty = 2.3, .jitter = 4.5}, 7.123),
            "10\timages/sec: 1000.0 +/- 2.3 (jitter = 4.5)\t7.123\n");
  EXPECT_STREQ(kStepColumns, "Step\tImg/sec\ttotal_loss\n");
}

TEST(BenchLines, BeginWithWhatIsMeasured) {
  EXPECT_EQ(heading_text({"resnet50", "bf16", 16}, 2), "\nresnet50, bf16, batch 16 a rank, 2 ranks\n");
  EXPECT_EQ(heading_text({"lenet5", "fp32", 1}, 1), "\nlenet5, fp32, batch 1 a rank, 1 rank\n");
}

TEST(BenchLines, StandForTheFirstEveryTenthAndTheLastStep) {
  std::vector<std::int64_t> shown;
  for (std::int64_t step = 1; step <= 23; ++step) {
    if (has_line(step, 23)) shown.push_back(step);
  }

  EXPECT_EQ(shown, (std::vector<std::int64_t>{1, 10, 20, 23}));
}

TEST(BenchReason, SaysWhatIsNeededWhatIsThereAndWhatFits) {
  EXPECT_EQ(reason_text(*two_results()[1].excess), "needs 88.10 GB a rank, has 21.00 GB; largest batch that fits: 900");
  EXPECT_EQ(reason_text({.planned_bytes = 5'000'000'000, .available_bytes = 1'000'000'000}),
            "needs 5.00 GB a rank, has 1.00 GB; not even one picture fits");
}

TEST(BenchTable, HasARowForEveryCombination) {
  const std::string table = results_table(two_results());

  EXPECT_NE(table.find("resnet50  fp32       16     1000.0    2.3  4.5     32.0       24000.0  1234.0\n"), std::string::npos)
      << table;
  EXPECT_NE(table.find("skipped"), std::string::npos) << table;
  EXPECT_NE(table.find("needs 88.10 GB a rank, has 21.00 GB; largest batch that fits: 900\n"), std::string::npos) << table;
}

TEST(BenchJson, HoldsSettingOptionsAndResults) {
  const BenchConfig config{.models = "resnet50,vgg16", .batches = "16,4096"};
  const BenchSetting setting{
      .ranks = 2, .threads_per_rank = 4, .cpu = "a CPU", .host = "node7", .command = {"dtrain", "bench"}};

  const auto json = nlohmann::json::parse(results_as_json(config, setting, two_results()));

  EXPECT_EQ(json.at("machine").at("ranks"), 2);
  EXPECT_EQ(json.at("machine").at("cpu"), "a CPU");
  EXPECT_EQ(json.at("host"), "node7");
  EXPECT_FALSE(json.at("versions").at("dtrain").get<std::string>().empty());
  EXPECT_EQ(json.at("options").at("models"), "resnet50,vgg16");
  ASSERT_EQ(json.at("results").size(), 2U);
  const auto& measured = json.at("results").at(0);
  EXPECT_TRUE(measured.at("skipped").is_null());
  EXPECT_EQ(measured.at("images_per_s").at("mean"), 1000.04);
  EXPECT_EQ(measured.at("step_s").at("p90"), 0.033);
  EXPECT_EQ(measured.at("planned_bytes"), 1'234'000'000);
  const auto& skipped = json.at("results").at(1);
  EXPECT_EQ(skipped.at("model"), "vgg16");
  EXPECT_EQ(skipped.at("skipped").at("largest_batch"), 900);
  EXPECT_FALSE(skipped.contains("images_per_s"));
}

TEST(BenchCsv, HasAHeadingAndALineOfAsManyFieldsForEveryCombination) {
  std::istringstream lines(results_as_csv({.ranks = 2}, two_results()));
  std::vector<std::string> all;
  for (std::string line; std::getline(lines, line);) all.push_back(line);

  ASSERT_EQ(all.size(), 3U);
  EXPECT_TRUE(all[0].starts_with("model,precision,batch,ranks,images_per_s,"));
  EXPECT_EQ(all[1], "resnet50,fp32,16,2,1000.04,2.34,4.5,0.032,24000,7.1234,1234000000,");
  EXPECT_TRUE(all[2].starts_with("vgg16,fp32,4096,2,,,,,,,,\"needs 88.10 GB a rank, has ")) << all[2];
  EXPECT_EQ(std::ranges::count(all[0], ','), std::ranges::count(all[1], ','));
  EXPECT_EQ(std::ranges::count(all[0], ','), std::ranges::count(all[2].substr(0, all[2].find('"')), ','));
}

}  // namespace
}  // namespace dtrain
