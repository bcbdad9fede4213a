// Which published weights a file is named after, and what images they expect.
#include <gtest/gtest.h>

#include "dtrain/models.hpp"
#include "dtrain/published_weights.hpp"

namespace dtrain {
namespace {

// torchvision.models.ResNet50_Weights.IMAGENET1K_V2.transforms(): resize 232; V1: 256.
TEST(PublishedPreprocessing, IsThatOfTheVersionInTheFilesName) {
  const auto first = published_weights("weights/resnet50-0676ba61.safetensors", "resnet50");
  const auto second = published_weights("weights/resnet50-11ad3fa6.safetensors", "resnet50");

  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->preprocessing, Preprocessing{});
  EXPECT_EQ(second->preprocessing, (Preprocessing{.resize = 232}));
  EXPECT_EQ(second->name, "resnet50-11ad3fa6");
}

TEST(PublishedPreprocessing, IsFoundInTheNamesThatConvertersGive) {
  for (const char* name : {"resnet18-f37072fd.pth.safetensors", "ResNet18_F37072FD.safetensors", "f37072fd.safetensors",
                           "resnet18-5c106cde-converted.safetensors",
                           "resnet18-f37072fd0123456789abcdef0123456789abcdef0123456789abcdef01234567.safetensors"}) {
    EXPECT_EQ(published_preprocessing(name, "resnet18"), Preprocessing{}) << name;
  }
}

TEST(PublishedPreprocessing, IsNoneForOtherNamesAndOtherModels) {
  for (const char* name : {"resnet50.safetensors", "resnet50-11ad3fa.safetensors", "resnet50-x11ad3fa6.safetensors",
                           "resnet50-11ad3fa6z.safetensors", "11ad3fa6/resnet50.safetensors", ""}) {
    EXPECT_EQ(published_preprocessing(name, "resnet50"), std::nullopt) << name;
  }
  EXPECT_EQ(published_preprocessing("resnet50-11ad3fa6.safetensors", "resnet101"), std::nullopt);
}

// transform_input: ((v − 0.485)/0.229)·(0.229/0.5) + (0.485 − 0.5)/0.5 = (v − 0.5)/0.5.
TEST(PublishedPreprocessing, HasTheInputTransformOfNetworksPortedFromTensorFlow) {
  const std::array<float, 3> half{0.5f, 0.5f, 0.5f};

  EXPECT_EQ(published_preprocessing("googlenet-1378be20.safetensors", "googlenet"),
            (Preprocessing{.mean = half, .stddev = half}));
  for (const char* name : {"inception_v3_google-0cc3c7bd.safetensors", "inception_v3_google-1a9a5a14.safetensors"}) {
    EXPECT_EQ(published_preprocessing(name, "inception_v3"),
              (Preprocessing{.resize = 342, .crop = 299, .mean = half, .stddev = half}));
  }
}

TEST(PublishedPreprocessing, TellsVggsFeaturesForDetectionFromVgg) {
  const auto features = published_preprocessing("vgg16_features-amdegroot-88682ab5.safetensors", "vgg16");

  ASSERT_TRUE(features);
  EXPECT_EQ(features->mean[0], 0.48235f);
  EXPECT_EQ(features->stddev[2], 1.0f / 255.0f);
  EXPECT_EQ(published_preprocessing("vgg16-397923af.safetensors", "vgg16"), Preprocessing{});
}

TEST(InputWarning, IsForImageNetsClassesInNetworksWhosePublishedWeightsDiffer) {
  EXPECT_NE(input_warning("a.safetensors", "googlenet", 1000).find("--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5"), std::string::npos);
  EXPECT_NE(input_warning("a.safetensors", "inception_v3", 1000), "");

  EXPECT_EQ(input_warning("a.safetensors", "googlenet", 10), "");
  EXPECT_EQ(input_warning("a.safetensors", "resnet50", 1000), "");
  EXPECT_EQ(input_warning("googlenet-1378be20.safetensors", "googlenet", 1000), "") << "it is known";
}

}  // namespace
}  // namespace dtrain
