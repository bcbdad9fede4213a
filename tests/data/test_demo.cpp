// The demo data set: readable, varied, reproducible picture by picture, and not to be told by colour.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <filesystem>

#include "dtrain/data.hpp"
#include "fixtures.hpp"
#include "src/data/demo_shapes.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

using Colour = std::array<double, 3>;

Colour mean_colour(const Dataset& dataset, std::int64_t sample) {
  Picture picture;
  dataset.decode(sample, {}, picture);
  Colour sum{};
  for (std::size_t i = 0; i < picture.rgb.size(); ++i) sum[i % 3] += picture.rgb[i];
  for (double& channel : sum) channel /= static_cast<double>(picture.rgb.size() / 3);
  return sum;
}

double squared_distance(const Colour& a, const Colour& b) {
  double sum = 0.0;
  for (std::size_t c = 0; c < 3; ++c) sum += (a[c] - b[c]) * (a[c] - b[c]);
  return sum;
}

TEST(Demo, WritesReadableClassFoldersOfVariedPictures) {
  const TemporaryDirectory directory;
  make_demo(directory.path() / "new/demo", {.train_per_class = 6, .val_per_class = 2, .seed = 5});

  const auto train = open_image_folder(directory.path() / "new/demo/train");
  const auto val = open_image_folder(directory.path() / "new/demo/val");

  const std::vector<std::string> names(kDemoClasses.begin(), kDemoClasses.end());
  EXPECT_EQ(train->class_names(), names);
  EXPECT_EQ(val->class_names(), names);
  ASSERT_EQ(train->size(), 60);
  ASSERT_EQ(val->size(), 20);
  EXPECT_TRUE(train->sample_name(5).ends_with("train/checkerboard/0005.jpg"));
  std::set<std::pair<std::int64_t, std::int64_t>> sizes;
  int wide = 0, tall = 0;
  for (std::int64_t i = 0; i < 60; ++i) {
    Picture picture;
    train->decode(i, {}, picture);
    sizes.insert({picture.width, picture.height});
    wide += picture.width > picture.height ? 1 : 0;
    tall += picture.width < picture.height ? 1 : 0;
    EXPECT_GE(std::min(picture.width, picture.height), 64);
    EXPECT_LE(std::max(picture.width, picture.height), 161);
  }
  EXPECT_GT(sizes.size(), 40u);
  EXPECT_GT(wide, 10);
  EXPECT_GT(tall, 10);
}

TEST(Demo, RendersEveryPictureFromItsOwnNumberAndSeed) {
  const TemporaryDirectory directory;
  make_demo(directory.path() / "a", {.train_per_class = 3, .val_per_class = 2, .seed = 5});
  make_demo(directory.path() / "b", {.train_per_class = 1, .val_per_class = 1, .seed = 5});
  make_demo(directory.path() / "c", {.train_per_class = 1, .val_per_class = 1, .seed = 6});
  for (const char* file : {"train/star/0000.jpg", "val/dots/0000.jpg"}) {
    EXPECT_EQ(read_bytes(directory.path() / "a" / file), read_bytes(directory.path() / "b" / file));
    EXPECT_NE(read_bytes(directory.path() / "a" / file), read_bytes(directory.path() / "c" / file));
  }
  EXPECT_NE(read_bytes(directory.path() / "a/train/star/0000.jpg"), read_bytes(directory.path() / "a/train/star/0001.jpg"));
  EXPECT_NE(read_bytes(directory.path() / "a/train/star/0000.jpg"), read_bytes(directory.path() / "a/val/star/0000.jpg"));
}

TEST(Demo, CannotBeToldByMeanColour) {
  const TemporaryDirectory directory;
  make_demo(directory.path() / "demo", {.train_per_class = 60, .val_per_class = 40});
  const auto train = open_image_folder(directory.path() / "demo/train");
  const auto val = open_image_folder(directory.path() / "demo/val");
  std::array<Colour, 10> centres{};
  std::vector<std::pair<Colour, std::int32_t>> known;
  for (std::int64_t i = 0; i < train->size(); ++i) {
    known.emplace_back(mean_colour(*train, i), train->label(i));
    for (std::size_t c = 0; c < 3; ++c)
      centres.at(static_cast<std::size_t>(train->label(i)))[c] += known.back().first[c] / 60.0;
  }

  int right_by_centre = 0, right_by_neighbour = 0;
  for (std::int64_t i = 0; i < val->size(); ++i) {
    const Colour colour = mean_colour(*val, i);
    const auto nearer_centre = [&](const Colour& a, const Colour& b) {
      return squared_distance(a, colour) < squared_distance(b, colour);
    };
    const auto centre = std::min_element(centres.begin(), centres.end(), nearer_centre) - centres.begin();
    const auto neighbour = std::min_element(known.begin(), known.end(), [&](const auto& a, const auto& b) {
      return squared_distance(a.first, colour) < squared_distance(b.first, colour);
    });
    right_by_centre += centre == val->label(i) ? 1 : 0;
    right_by_neighbour += neighbour->second == val->label(i) ? 1 : 0;
  }

  // Chance is 40 of 400, with a standard deviation of 6; the seed is fixed. Ink that is always the brighter colour gives 61.
  EXPECT_LT(right_by_centre, 60);
  EXPECT_LT(right_by_neighbour, 60);
}

TEST(Demo, DrawsLargeFiguresThatLeaveRoomForPaper) {
  for (int shape = 0; shape < 10; ++shape) {
    for (std::uint64_t seed = 0; seed < 20; ++seed) {
      Random random(seed, RandomPurpose::demo_pictures, {});
      const DemoFigure figure = draw_figure(static_cast<DemoShape>(shape), random);
      int inked = 0;
      double reach = 0.0;
      for (int y = -50; y < 50; ++y) {
        for (int x = -50; x < 50; ++x) {
          const double u = (x + 0.5) / 50.0, v = (y + 0.5) / 50.0;
          if (figure_distance(figure, u, v) >= 0.0) continue;
          ++inked;
          reach = std::max({reach, std::abs(u), std::abs(v)});
        }
      }
      EXPECT_GT(inked, 2000) << kDemoClasses.at(static_cast<std::size_t>(shape)) << " " << seed;
      EXPECT_LT(inked, 8000) << kDemoClasses.at(static_cast<std::size_t>(shape)) << " " << seed;
      EXPECT_GT(reach, 0.65) << kDemoClasses.at(static_cast<std::size_t>(shape)) << " " << seed;
    }
  }
}

TEST(Demo, MeasuresDistancesThatChangeNoFasterThanTheWay) {
  // So that coverage computed from a distance in pixels blends over one pixel, never less.
  constexpr double kStep = 1e-4;
  for (int shape = 0; shape < 10; ++shape) {
    Random random(1, RandomPurpose::demo_pictures, {static_cast<std::uint64_t>(shape)});
    const DemoFigure figure = draw_figure(static_cast<DemoShape>(shape), random);
    for (int i = 0; i < 2000; ++i) {
      const double x = random.uniform(-1.0, 1.0), y = random.uniform(-1.0, 1.0);
      const double here = figure_distance(figure, x, y);
      ASSERT_LE(std::abs(figure_distance(figure, x + kStep, y) - here), kStep * 1.001)
          << kDemoClasses.at(static_cast<std::size_t>(shape));
      ASSERT_LE(std::abs(figure_distance(figure, x, y + kStep) - here), kStep * 1.001)
          << kDemoClasses.at(static_cast<std::size_t>(shape));
    }
  }
}

TEST(Demo, RefusesAPlaceThatIsTakenOrCannotBeWritten) {
  const TemporaryDirectory directory;
  write_bytes(directory.path() / "full/something", to_bytes("x"));
  write_bytes(directory.path() / "file", to_bytes("x"));
  fs::create_directory(directory.path() / "empty");
  const auto error_at = [&](const char* place) {
    return data_error_of([&] { make_demo(directory.path() / place, {.train_per_class = 1, .val_per_class = 1}); });
  };

  EXPECT_EQ(error_at("empty"), "");
  for (const auto& [place, found] :
       std::vector<std::pair<const char*, std::string>>{{"full", "a directory that is not empty"},
                                                        {"file", "a file of that name"},
                                                        {"file/below", "Not a directory"},
                                                        {"empty", "a directory that is not empty"}}) {
    const std::string text = error_at(place);
    EXPECT_NE(text.find((directory.path() / place).string()), std::string::npos) << text;
    EXPECT_NE(text.find(found), std::string::npos) << text;
    EXPECT_NE(text.find("; try: "), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace dtrain
