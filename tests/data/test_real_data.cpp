// Real photographs and X-rays, where the directory named by DTRAIN_TEST_DATA has them.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "dtrain/data.hpp"
#include "fixtures.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// Directory of a set, empty where it is absent.
fs::path find_set(const char* name) {
  const char* root = std::getenv("DTRAIN_TEST_DATA");
  if (root == nullptr || !fs::is_directory(fs::path(root) / name)) return {};
  return fs::path(root) / name;
}

void expect_all_decode(const Dataset& dataset) {
  Picture picture;
  for (std::int64_t i = 0; i < dataset.size(); ++i) {
    ASSERT_EQ(data_error_of([&] { dataset.decode(i, {}, picture); }), "") << dataset.sample_name(i);
    const PictureSize size = dataset.picture_size(i);
    ASSERT_EQ(size.width, picture.width);
    ASSERT_EQ(size.height, picture.height);
  }
}

TEST(RealData, DecodesWebPhotographs) {
  const fs::path set = find_set("dali_jpeg");
  if (set.empty()) GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with dali_jpeg";
  const auto dataset = open_image_folder(set / "jpeg");

  EXPECT_EQ(dataset->size(), 47);
  expect_all_decode(*dataset);
}

TEST(RealData, SniffsMisnamedFiles) {
  const fs::path set = find_set("dali_jpeg");
  if (set.empty()) GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with dali_jpeg";
  const auto dataset = open_image_folder(set / "missnamed/jpeg");
  const std::map<std::string, std::string> kinds{{"bmp", "a BMP picture"},
                                                 {"pbm", "a PNM picture"},
                                                 {"pgm", "a PNM picture"},
                                                 {"pnm", "a PNM picture"},
                                                 {"ppm", "a PNM picture"},
                                                 {"tiff", "a TIFF picture"},
                                                 {"png", ""}};
  ASSERT_EQ(dataset->size(), 7);
  for (std::int64_t i = 0; i < 7; ++i) {
    Picture picture;
    const std::string text = data_error_of([&] { dataset->decode(i, {}, picture); });
    const std::string& found = kinds.at(fs::path(dataset->sample_name(i)).stem().string());
    if (found.empty()) {
      EXPECT_EQ(text, "");
      EXPECT_EQ(picture.width, 640);
      EXPECT_EQ(picture.height, 426);
    } else {
      EXPECT_NE(text.find("found " + found), std::string::npos) << text;
    }
  }
}

TEST(RealData, DecodesImageNetPhotographsGrayOnesIncluded) {
  const fs::path set = find_set("imagenette224");
  if (set.empty()) GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with imagenette224";
  const auto train = open_image_folder(set / "train");
  const auto val = open_image_folder(set / "val");

  EXPECT_EQ(train->size(), 2000);
  EXPECT_EQ(val->size(), 500);
  EXPECT_EQ(train->class_names(), val->class_names());
  EXPECT_EQ(train->class_names().size(), 10u);
  expect_all_decode(*train);
  expect_all_decode(*val);
}

TEST(RealData, DecodesChestXRaysGrayAndRgba) {
  const fs::path set = find_set("nih_chestxray14");
  if (set.empty()) GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with nih_chestxray14";
  const TemporaryDirectory root;
  fs::create_directory_symlink(set / "images", root.path() / "all");
  const auto dataset = open_image_folder(root.path());

  EXPECT_EQ(dataset->size(), 140);
  expect_all_decode(*dataset);
}

TEST(RealData, LoadsPhotographsForTrainingTheSameWithAnyWorkers) {
  const fs::path set = find_set("dali_jpeg");
  if (set.empty()) GTEST_SKIP() << "DTRAIN_TEST_DATA names no directory with dali_jpeg";
  const auto dataset = open_image_folder(set / "jpeg");
  const auto load = [&](int workers) {
    LoaderOptions options{
        .transform = {.augmentation = Augmentation::standard, .crop = 96},
        .workers = workers,
        .max_batch = 16,
    };
    DataLoader loader(*dataset, options, [](std::int64_t k) {
      std::vector<SampleRequest> requests;
      for (std::int64_t i = 0; k < 2 && i < 16; ++i) requests.push_back({k * 16 + i, 1});
      return requests;
    });
    std::vector<float> images;
    for (const Batch* batch = &loader.next(); batch->count > 0; batch = &loader.next()) {
      images.insert(images.end(), batch->images.begin(), batch->images.end());
    }
    return images;
  };

  const std::vector<float> one = load(1);

  EXPECT_EQ(one.size(), 32u * 3 * 96 * 96);
  EXPECT_EQ(load(3), one);
}

}  // namespace
}  // namespace dtrain
