// Class folders as a data set: labels and order, what is left out, and every wrong layout refused with its remedy.
#include <gtest/gtest.h>

#include "dtrain/data.hpp"
#include "fixtures.hpp"
#include "picture_writers.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

std::vector<std::uint8_t> small_jpeg() { return write_jpeg({.width = 8, .height = 6}, gradient_picture(8, 6).rgb); }

std::string open_error(const fs::path& root) {
  return data_error_of([&] { open_image_folder(root); });
}

void expect_parts(const std::string& text, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(ImageFolder, LabelsByClassFolderInByteOrder) {
  const TemporaryDirectory root;
  for (const char* file : {"b/2.jpg", "b/10.jpg", "a/x.PNG", "B/y.JPEG", "a/deep/er/z.Jpg"})
    write_bytes(root.path() / file, small_jpeg());
  write_bytes(root.path() / "a/notes.txt", to_bytes("no picture by name: left out"));
  write_bytes(root.path() / "a/.hidden.jpg", small_jpeg());
  write_bytes(root.path() / "a/.cache/copy.jpg", small_jpeg());
  write_bytes(root.path() / ".thumbnails/t.jpg", small_jpeg());
  write_bytes(root.path() / "list.csv", to_bytes("left out too"));

  const auto dataset = open_image_folder(root.path());

  EXPECT_EQ(dataset->class_names(), (std::vector<std::string>{"B", "a", "b"}));
  ASSERT_EQ(dataset->size(), 5);
  const std::vector<std::string> names{"B/y.JPEG", "a/deep/er/z.Jpg", "a/x.PNG", "b/10.jpg", "b/2.jpg"};
  const std::vector<std::int32_t> labels{0, 1, 1, 2, 2};
  for (std::int64_t i = 0; i < 5; ++i) {
    EXPECT_EQ(dataset->sample_name(i), (root.path() / names[static_cast<std::size_t>(i)]).string());
    EXPECT_EQ(dataset->label(i), labels[static_cast<std::size_t>(i)]);
  }
}

TEST(ImageFolder, DecodesByContentAndKnowsSizes) {
  const TemporaryDirectory root;
  const Picture png = noise_picture(7, 3, 1);
  write_bytes(root.path() / "c/a.jpeg", write_png(png));
  write_bytes(root.path() / "c/b.png", small_jpeg());
  const auto dataset = open_image_folder(root.path().string() + "/");
  Picture picture;

  dataset->decode(0, {}, picture);

  EXPECT_EQ(picture.rgb, png.rgb);
  EXPECT_EQ(dataset->picture_size(0).width, 7);
  EXPECT_EQ(dataset->picture_size(0).height, 3);
  EXPECT_EQ(dataset->picture_size(1).width, 8);
  EXPECT_EQ(dataset->picture_size(1).height, 6);
  EXPECT_EQ(dataset->sample_name(1), (root.path() / "c/b.png").string());
}

TEST(ImageFolder, AsksForAHintWithTheStoredSizeAndDecodesAccordingly) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "c/a.jpg", write_jpeg({.width = 64, .height = 48}, gradient_picture(64, 48).rgb));
  const auto dataset = open_image_folder(root.path());
  PictureSize seen;
  Picture picture, same;

  dataset->decode_sized(
      0,
      [&](const PictureSize& stored) {
        return seen = stored, DecodeHint{30, 20};
      },
      picture);
  dataset->decode(0, {30, 20}, same);

  EXPECT_EQ(seen.width, 64);
  EXPECT_EQ(seen.height, 48);
  EXPECT_EQ(picture.width, 32);
  EXPECT_EQ(picture.height, 24);
  EXPECT_EQ(picture.rgb, same.rgb);
}

TEST(ImageFolder, FindsTheSizeBehindALongHeader) {
  const TemporaryDirectory root;
  std::vector<std::uint8_t> bytes = small_jpeg();
  std::vector<std::uint8_t> comment{0xFF, 0xFE, 0xC3, 0x52};  // a comment segment of 50 000 bytes
  comment.resize(50002, 'x');
  for (int i = 0; i < 3; ++i) bytes.insert(bytes.begin() + 2, comment.begin(), comment.end());
  write_bytes(root.path() / "c/a.jpg", bytes);

  EXPECT_EQ(open_image_folder(root.path())->picture_size(0).width, 8);
}

TEST(ImageFolder, FollowsLinksToClassFolders) {
  const TemporaryDirectory root, elsewhere;
  write_bytes(elsewhere.path() / "p.jpg", small_jpeg());
  fs::create_directory_symlink(elsewhere.path(), root.path() / "linked");

  const auto dataset = open_image_folder(root.path());

  EXPECT_EQ(dataset->size(), 1);
  EXPECT_EQ(dataset->picture_size(0).width, 8);
}

TEST(ImageFolder, NamesADanglingLinkWhenItIsDecoded) {
  const TemporaryDirectory root;
  fs::create_directory(root.path() / "c");
  fs::create_symlink(root.path() / "nowhere.jpg", root.path() / "c/a.jpg");
  const auto dataset = open_image_folder(root.path());
  Picture picture;

  const std::string text = data_error_of([&] { dataset->decode(0, {}, picture); });

  expect_parts(text, {"c/a.jpg", "No such file"});
}

TEST(ImageFolder, RefusesARootThatIsMissingOrAFile) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "file", to_bytes("x"));

  expect_parts(open_error(root.path() / "none"), {"/none", "expected class folders", "no such directory", "; try: "});
  expect_parts(open_error(root.path() / "file"), {"/file", "expected class folders", "a file, not a directory", "; try: "});
}

TEST(ImageFolder, RefusesARootWithoutClassFolders) {
  const TemporaryDirectory root;

  expect_parts(open_error(root.path()), {"expected class folders", "an empty directory", "; try: "});
  write_bytes(root.path() / "p.jpg", small_jpeg());
  expect_parts(open_error(root.path()), {"expected class folders", "1 pictures, no folder", "; try: "});
}

TEST(ImageFolder, RefusesAClassWithoutPictureAndNamesIt) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "good/p.jpg", small_jpeg());
  write_bytes(root.path() / "hollow/readme.txt", to_bytes("x"));

  expect_parts(open_error(root.path()), {"expected class folders", "class folder hollow", "; try: "});
}

TEST(ImageFolder, RefusesTheFolderAboveTrainAndVal) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "train/cat/p.jpg", small_jpeg());
  write_bytes(root.path() / "val/cat/p.jpg", small_jpeg());

  expect_parts(open_error(root.path()),
               {"the folder train that itself holds folders", "give " + (root.path() / "train").string()});
  EXPECT_EQ(open_image_folder(root.path() / "train")->size(), 1);
}

TEST(ImageFolder, RefusesLinksThatLoop) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "c/p.jpg", small_jpeg());
  fs::create_directory_symlink(root.path() / "c", root.path() / "c/again");

  expect_parts(open_error(root.path()), {"c/again to ", "which holds it", "; try: remove the link"});
}

}  // namespace
}  // namespace dtrain
