// Lists and combinations of a measurement, and the runs that they are.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "trainer/bench_plan.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {
namespace {

template <typename Parse>
std::string error_text(Parse parse, const std::string& text) {
  try {
    parse(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return {};
}

void expect_fault(const BenchConfig& config, const std::string& text) {
  const std::vector<std::string> faults = validate(config, 2);
  ASSERT_EQ(faults.size(), 1U) << text;
  EXPECT_NE(faults.front().find(text), std::string::npos) << faults.front();
}

TEST(BenchLists, HaveOnePartOrSeveral) {
  EXPECT_EQ(parse_list("resnet50"), std::vector<std::string>{"resnet50"});
  EXPECT_EQ(parse_list("a,b,c"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(parse_batches("1,32,65536"), (std::vector<std::int64_t>{1, 32, 65536}));
}

TEST(BenchLists, RefuseEmptyParts) {
  for (const char* text : {"", ",", "1,", ",1", "1,,2"}) {
    EXPECT_NE(error_text(parse_list, text).find("an empty part"), std::string::npos) << text;
    EXPECT_NE(error_text(parse_batches, text).find("an empty part"), std::string::npos) << text;
  }
}

TEST(BenchLists, RefuseWhatIsThereTwice) {
  EXPECT_NE(error_text(parse_list, "a,b,a").find("'a' again"), std::string::npos);
  EXPECT_NE(error_text(parse_batches, "4,8,4").find("'4' again"), std::string::npos);
  EXPECT_NE(error_text(parse_batches, "4,04").find("'04' again"), std::string::npos);
}

TEST(BenchLists, RefuseBatchesThatAreNoWholeNumbersFromOne) {
  for (const char* part : {"0", "-4", "x", "4x", "1.5", " 4", "10000001", "99999999999999999999"}) {
    const std::string text = error_text(parse_batches, "8," + std::string(part));
    EXPECT_NE(text.find("'" + std::string(part) + "'"), std::string::npos) << text;
  }
}

TEST(BenchConfiguration, IsSoundAsItComes) {
  EXPECT_TRUE(validate(BenchConfig{}, 1).empty());
  EXPECT_TRUE(validate(BenchConfig{.models = "inception3,lenet5", .batches = "1,4"}, 3).empty());
}

TEST(BenchConfiguration, HasEachOfItsFaultsOnceAndAllTogether) {
  BenchConfig config{.models = "resnt50,lenet5,resnet18,nonsense", .batches = "0", .precision = "fp61", .steps = 0};
  config.training.bind = "tight";

  const std::vector<std::string> faults = validate(config, 2);

  ASSERT_EQ(faults.size(), 6U);
  EXPECT_NE(faults[0].find("'resnt50'; try: --models resnet50"), std::string::npos) << faults[0];
  EXPECT_NE(faults[1].find("--models: "), std::string::npos) << faults[1];
  EXPECT_NE(faults[2].find("--precision: expected fp32, bf16 or fp32,bf16, found 'fp61'"), std::string::npos) << faults[2];
  EXPECT_TRUE(faults[3].starts_with("--batches: ")) << faults[3];
  EXPECT_TRUE(faults[4].starts_with("--steps: expected a whole number from 1")) << faults[4];
  EXPECT_TRUE(faults[5].starts_with("--bind: ")) << faults[5];
}

TEST(BenchConfiguration, NamesTheOptionOfEachFault) {
  expect_fault({.models = "lenet5,lenet5"}, "--models: reading the list 'lenet5,lenet5'");
  expect_fault({.precision = "fp32,fp32"}, "--precision: ");
  expect_fault({.precision = "auto"}, "found 'auto'");
  expect_fault({.warmup = -1}, "--warmup: expected a whole number from 0");
  expect_fault({.models = "lenet5,vgg16", .training = {.crop = 20}}, "--models: building model vgg16");  // too small for it
}

TEST(BenchCombinations, AreEveryModelInEveryPrecisionWithEveryBatch) {
  const auto combinations = combinations_of({.models = "a,b", .batches = "2,1", .precision = "fp32,bf16"});

  ASSERT_EQ(combinations.size(), 8U);
  EXPECT_EQ(combinations[0].model + combinations[0].precision, "afp32");
  EXPECT_EQ(combinations[0].batch, 2);
  EXPECT_EQ(combinations[1].batch, 1);
  EXPECT_EQ(combinations[2].precision, "bf16");
  EXPECT_EQ(combinations[7].model, "b");
}

TEST(BenchRun, HasOneMicroBatchOfOneSizeInEveryStep) {
  for (const std::int64_t batch : {std::int64_t{1}, std::int64_t{96}, kLargestBatch}) {
    const TrainConfig run = run_of({.steps = 20, .warmup = 5}, {"lenet5", "fp32", batch}, 3);
    const RunPlan plan = plan_run(run, {.samples = run.synthetic_size, .classes = 10}, 3);

    EXPECT_TRUE(validate(run, 3).empty());
    EXPECT_EQ(plan.total_steps, 25);
    EXPECT_EQ(plan.global_batch, 3 * batch);
    EXPECT_EQ(plan.local_batch, batch);
    EXPECT_EQ(plan.compile.batch, batch);
    EXPECT_EQ(plan.samples % plan.global_batch, 0);
    EXPECT_FALSE(plan.compile.accumulates);
  }
}

}  // namespace
}  // namespace dtrain
