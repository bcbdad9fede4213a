// Published weights on the pictures that they were made for, where the directory named by DTRAIN_TEST_DATA has both.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Classes of imagenette among the thousand of ImageNet.
constexpr const char* kImagenetteIndices =
    "n01440764 0\nn02102040 217\nn02979186 482\nn03000684 491\nn03028079 497\n"
    "n03394916 566\nn03417042 569\nn03425413 571\nn03445777 574\nn03888257 701\n";

// PyTorch with torchvision's network has 325 and 420 of the 500 pictures among its first one and first five. None of them is
// nearer to the other side than 6e-3 between two logits, a hundred times what rounding does to them; two pictures more or fewer
// are left to JPEG decoders that round differently.
TEST(PublishedWeights, OfSqueezeNetAreAsAccurateAsInPyTorch) {
  const char* const root = std::getenv("DTRAIN_TEST_DATA");
  const fs::path weights = fs::path(root == nullptr ? "" : root) / "weights/squeezenet1_1/squeezenet1_1.safetensors";
  const fs::path pictures = fs::path(root == nullptr ? "" : root) / "imagenette224/val";
  if (root == nullptr || !fs::exists(weights) || !fs::is_directory(pictures)) {
    GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with weights/squeezenet1_1 and imagenette224";
  }
  const fs::path indices = new_path("imagenette.txt");
  const fs::path report = new_path("eval.json");
  write_text(indices, kImagenetteIndices);

  const Outcome outcome = run({.ranks = 2,
                               .arguments = {"eval", "--model", "squeezenet1_1", "--weights", weights.string(), "--data",
                                             pictures.string(), "--class-indices", indices.string(), "--resize", "224",
                                             "--crop", "224", "--threads", "1", "--report", report.string()}});

  ASSERT_EQ(outcome.exit_code, 0) << outcome;
  const Json result = read_json(report);
  EXPECT_EQ(result.at("samples"), 500);
  EXPECT_NEAR(result.at("top1").get<double>() * 500, 325, 2.5);
  EXPECT_NEAR(result.at("top5").get<double>() * 500, 420, 2.5);
}

}  // namespace
}  // namespace dtrain
