// From published or own weights to other classes with `--preset finetune` alone; and what is said of runs that do not learn.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <span>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// The first classes of demo_data(), as folders of their own.
fs::path some_classes(std::size_t count) {
  const fs::path data = new_path("classes");
  for (const char* split : {"train", "val"}) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(demo_data() / split)) names.push_back(entry.path().filename().string());
    std::ranges::sort(names);
    for (const std::string& name : std::span(names).first(count)) {
      fs::create_directories(data / split / name);
      fs::copy(demo_data() / split / name, data / split / name);
    }
  }
  return data;
}

double first_loss(const fs::path& metrics) { return metrics_lines(metrics, "loss").front().at("loss"); }

TEST(FineTuningPreset, NeedsNoRateNoBatchAndNoEpochs) {
  const fs::path data = some_classes(2);
  const fs::path weights = new_path("fresh.safetensors"), picture = new_path("plan.svg");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--out", weights.string()}}).exit_code, 0);

  const Outcome plan = run({.arguments = {"--model", "resnet20", "--data", data.string(), "--init-from", weights.string(),
                                          "--preset", "finetune", "--dry-run", picture.string(), "--images-per-s", "10"}});

  EXPECT_EQ(plan.exit_code, 0) << plan;
  EXPECT_TRUE(plan.says("global batch 8, 16 ")) << plan;
  EXPECT_TRUE(plan.says("0.01 for a batch of 256")) << plan;
}

TEST(FineTuningPreset, BeginsAtTheRateOfTheCheckpointItStartsFrom) {
  const fs::path out = new_path("known");
  ASSERT_EQ(run({.arguments = training_into(out, {"--steps", "3", "--lr", "0.004", "--schedule", "constant"})}).exit_code, 0);

  const Outcome plan = run(
      {.arguments = {"--model", "resnet20", "--data", demo_data().string(), "--init-from", (out / "last.safetensors").string(),
                     "--preset", "finetune", "--dry-run", new_path("plan.svg").string(), "--images-per-s", "10"}});

  EXPECT_TRUE(plan.says("rate 0.004, at which the weights were being trained")) << plan;
}

TEST(FineTuningPreset, OfASqueezeNetIsNotDeadFromScratch) {
  const fs::path out = new_path("squeezed");

  const Outcome outcome =
      run({.arguments = {"--model", "squeezenet1_1", "--data", some_classes(5).string(), "--crop", "64", "--threads", "1",
                         "--global-batch", "8", "--steps", "4", "--lr", "0.01", "--eval-every", "off", "--out", out.string()}});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_NEAR(first_loss(out / "metrics.jsonl"), std::log(5.0), 0.2 * std::log(5.0));
  EXPECT_FALSE(outcome.says("first loss")) << outcome;
}

TEST(FineTuningPreset, OfPublishedWeightsToTwoClassesLearnsThem) {
  const char* const root = std::getenv("DTRAIN_TEST_DATA");
  const fs::path weights = fs::path(root == nullptr ? "" : root) / "weights/squeezenet1_1/squeezenet1_1.safetensors";
  const fs::path images = fs::path(root == nullptr ? "" : root) / "imagenette224";
  if (!fs::exists(weights) || !fs::exists(images)) {
    GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with weights/squeezenet1_1 and imagenette224";
  }
  const fs::path data = new_path("two"), out = new_path("tuned");
  for (const char* split : {"train", "val"}) {
    for (const char* name : {"n01440764", "n02102040"}) {
      fs::create_directories(data / split);
      fs::create_directory_symlink(images / split / name, data / split / name);
    }
  }

  const Outcome outcome =
      run({.arguments = {"--model", "squeezenet1_1", "--data", data.string(), "--init-from", weights.string(), "--preset",
                         "finetune", "--epochs", "1", "--crop", "96", "--threads", "1", "--out", out.string()}});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_NEAR(first_loss(out / "metrics.jsonl"), std::log(2.0), 0.2 * std::log(2.0));
  EXPECT_GT(metrics_lines(out / "metrics.jsonl", "val_loss").back().at("val_top1").get<double>(), 0.8) << "of 100 images";
}

// A rate of 1e30 would not be finite; 1e-30 changes nothing, and a head of zeros says the same of all images.
TEST(LearningWarnings, AreGivenOfALossThatStaysAtThatOfGuessing) {
  const fs::path fresh = new_path("fresh.safetensors"), silent = new_path("silent.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "10", "--out", fresh.string()}}).exit_code, 0);
  TensorFile file = read_tensor_file(fresh);
  for (FileTensor& tensor : file.tensors) {
    if (tensor.name.starts_with("linear.")) std::fill(tensor.f32.begin(), tensor.f32.end(), 0.0f);
  }
  write_tensor_file(silent, file);

  const Outcome outcome = run({.arguments = training({"--init-from", silent.string(), "--lr", "1e-30", "--epochs", "2"})});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(outcome.count("the loss has been that of guessing among 10 classes"), 1) << outcome;
  EXPECT_EQ(outcome.count("all 20 images are taken for class"), 1) << outcome;
}

TEST(LearningWarnings, AreGivenOfAPlanThatHardlyTrains) {
  const Outcome large = run({.arguments = training({"--global-batch", "100", "--steps", "1", "--eval-every", "off"})});
  const Outcome warmup = run({.arguments = training({"--warmup-epochs", "0.2", "--steps", "1", "--eval-every", "off"})});

  EXPECT_TRUE(large.says("--global-batch 100 is more than the 80 images")) << large;
  EXPECT_TRUE(warmup.says("it changes no weight")) << warmup;
}

TEST(LearningWarnings, RefuseBatchNormOverOneValueAndKeepItOutOfStatistics) {
  const Words small{"--model", "resnet18", "--crop", "32", "--threads", "1", "--data", demo_data().string()};
  const fs::path out = new_path("one_value");

  const Outcome refused = run({.arguments = small + Words{"--global-batch", "8", "--local-batch", "1", "--steps", "1"}});
  const Outcome warned = run({.arguments = small + Words{"--global-batch", "3", "--local-batch", "2", "--steps", "8", "--lr",
                                                         "1e-30", "--out", out.string()}});

  EXPECT_EQ(refused.exit_code, 2) << refused;
  EXPECT_TRUE(refused.says("layer4.0.bn1") && refused.says("--local-batch 2, or --crop 33")) << refused;
  EXPECT_EQ(warned.exit_code, 0) << warned;
  EXPECT_TRUE(warned.says("a micro-batch of 1 image has 1×1 pixels at the batch-norm layer4.0.bn1")) << warned;
  EXPECT_LT(metrics_lines(out / "metrics.jsonl", "val_loss").back().at("val_loss").get<double>(), 10.0);
}

}  // namespace
}  // namespace dtrain
