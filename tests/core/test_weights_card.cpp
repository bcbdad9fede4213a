// Cards of weights to metadata and back, and what is refused.
#include <gtest/gtest.h>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/weights_card.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

WeightsCard whole_card() {
  return {.model = "resnet20",
          .class_names = {"ant", "bee \"queen\"", "caf\xC3\xA9"},
          .preprocessing = Preprocessing{.resize = 232,
                                         .crop = 224,
                                         .interpolation = Interpolation::bicubic,
                                         .mean = {0.5f, 0.1f, 0.48235f},
                                         .stddev = {0.5f, 1.0f / 255.0f, 0.2f}},
          .learning_rate = 0.0125};
}

TensorFile own_file(const WeightsCard& card) {
  TensorFile file;
  put_card(card, file);
  file.metadata["dtrain.version"] = "1";
  return file;
}

std::string fault_of(const TensorFile& file) {
  try {
    (void)card_of(file);
  } catch (const DataError& error) {
    return error.what();
  }
  return {};
}

TEST(WeightsCard, ReadsBackToTheBit) {
  test::TemporaryDirectory directory;
  TensorFile file;
  put_card(whole_card(), file);
  write_tensor_file(directory.path() / "w.safetensors", file);

  EXPECT_EQ(card_of(read_tensor_file(directory.path() / "w.safetensors")), whole_card());
  EXPECT_EQ(card_of(own_file({.model = "lenet5"})), (WeightsCard{.model = "lenet5"}));
  EXPECT_EQ(card_of({}), WeightsCard{});
}

TEST(WeightsCard, IsInTheHeaderWithoutTheData) {
  test::TemporaryDirectory directory;
  TensorFile file;
  put_card(whole_card(), file);
  file.tensors.push_back({.name = "w", .shape = {2, 3}, .f32 = {1, 2, 3, 4, 5, 6}, .i64 = {}});
  write_tensor_file(directory.path() / "w.safetensors", file);

  const TensorFile header = read_tensor_header(directory.path() / "w.safetensors");

  EXPECT_EQ(card_of(header), whole_card());
  ASSERT_EQ(header.tensors.size(), 1U);
  EXPECT_EQ(header.tensors[0].shape, (Shape{2, 3}));
  EXPECT_TRUE(header.tensors[0].f32.empty());
}

TEST(WeightsCard, OfAnotherProgramsFileIsWhatReadsAsOne) {
  TensorFile file;
  put_card(whole_card(), file);
  EXPECT_EQ(card_of(file).class_names, whole_card().class_names) << "written anew by a program that keeps metadata";
  EXPECT_EQ(card_of(file).preprocessing, whole_card().preprocessing);

  file.metadata["mean"] = "whatever they mean by it";
  file.metadata["class_names"] = "12";

  WeightsCard card = card_of(file);
  ASSERT_EQ(card.unread.size(), 2U) << "and it says so";
  EXPECT_NE(card.unread[0].find("class_names"), std::string::npos);
  EXPECT_NE(card.unread[1].find("whatever they mean by it"), std::string::npos);
  card.unread.clear();
  EXPECT_EQ(card, (WeightsCard{.model = "resnet20"}));
}

TEST(WeightsCard, OfAnotherProgramsFileNamesAPreprocessingThatIsNotWhole) {
  TensorFile file;
  file.metadata["std"] = "[0.5, 0.5, 0.5]";

  const WeightsCard card = card_of(file);

  EXPECT_FALSE(card.preprocessing);
  ASSERT_EQ(card.unread.size(), 1U);
  EXPECT_NE(card.unread.front().find("together"), std::string::npos);
}

TEST(WeightsCard, RefusesWhatIsNoPreprocessing) {
  const auto fault_with = [](const char* key, const std::string& value) {
    TensorFile file = own_file(whole_card());
    file.metadata[key] = value;
    return fault_of(file);
  };
  EXPECT_NE(fault_with("mean", "[0.5, 0.5]").find("three numbers"), std::string::npos);
  EXPECT_NE(fault_with("mean", "[1e99, 0, 0]").find("three numbers"), std::string::npos);
  EXPECT_NE(fault_with("std", "[0.5, 0, 0.5]").find("above 0"), std::string::npos);
  EXPECT_NE(fault_with("interpolation", "lanczos").find("bilinear, bicubic or nearest"), std::string::npos);
  EXPECT_NE(fault_with("crop", "0").find("pixels"), std::string::npos);
  EXPECT_NE(fault_with("resize", "1e9").find("pixels"), std::string::npos);
  EXPECT_NE(fault_with("class_names", "[\"a\", 7]").find("list of texts"), std::string::npos);
  EXPECT_NE(fault_with("class_names", "[").find("list of texts"), std::string::npos);
  EXPECT_NE(fault_with("learning_rate", "nan").find("a number"), std::string::npos);
  TensorFile part = own_file(whole_card());
  part.metadata.erase("crop");
  EXPECT_NE(fault_of(part).find("together"), std::string::npos);
}

TEST(WeightsCard, KeepsNamesThatAreNoUtf8) {
  EXPECT_EQ(class_name_of("caf\xC3\xA9"), "caf\xC3\xA9");
  EXPECT_EQ(class_name_of("caf\xE9"), "caf\\xE9");
  EXPECT_EQ(class_name_of("\xED\xA0\x80"
                          "x"),
            "\\xED\\xA0\\x80x");  // a surrogate
  EXPECT_EQ(class_name_of("\xF0\x9F\x90\x9D"), "\xF0\x9F\x90\x9D");
  EXPECT_EQ(class_name_of("\xF0\x9F"), "\\xF0\\x9F");
  EXPECT_EQ(class_name_of("\xC0\xAF"), "\\xC0\\xAF");  // too long for what it says
}

TEST(Preprocessing, IsShownWithTheFewestDigits) {
  EXPECT_EQ(to_text(Preprocessing{}), "resize 256 (bilinear), crop 224, mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225");
}

}  // namespace
}  // namespace dtrain
