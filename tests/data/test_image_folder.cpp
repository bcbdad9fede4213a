// Class folders as a data set: labels and order, what is left out, and every wrong layout refused with its remedy.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "dtrain/data.hpp"
#include "dtrain/image_folder.hpp"
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

std::uint64_t digest_of(const std::vector<std::string>& files) {
  const TemporaryDirectory root;
  for (const std::string& file : files) write_bytes(root.path() / file, small_jpeg());
  return open_image_folder(root.path())->digest();
}

TEST(ImageFolder, HasADigestOfAllNamesAndLabelsWhereverItLies) {
  const std::uint64_t digest = digest_of({"a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"});

  EXPECT_EQ(digest_of({"a/1.jpg", "a/2.jpg", "b/3.jpg", "b/4.jpg"}), digest);
  EXPECT_NE(digest_of({"a/1.jpg", "a/2.jpg", "a/3.jpg", "b/4.jpg"}), digest) << "in another class";
  EXPECT_NE(digest_of({"a/1.jpg", "a/2x.jpg", "b/3.jpg", "b/4.jpg"}), digest) << "renamed in the middle";
  EXPECT_NE(digest_of({"a/1.jpg", "a/2.jp", "b/g3.jpg", "b/4.jpg"}), digest) << "divided otherwise";
  EXPECT_NE(digest_of({"a/1.jpg", "a/2.jpg", "c/3.jpg", "c/4.jpg"}), digest) << "another class";
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

  expect_parts(open_error(root.path()), {"expected class folders", "neither folders nor images", "; try: "});
  write_bytes(root.path() / "p.jpg", small_jpeg());
  expect_parts(open_error(root.path()), {"expected class folders", "1 image, no folder", "; try: "});
}

TEST(ImageFolder, RefusesAClassWithoutPictureAndNamesIt) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "good/p.jpg", small_jpeg());
  write_bytes(root.path() / "hollow/readme.txt", to_bytes("x"));

  expect_parts(open_error(root.path()), {"expected class folders", "class folder hollow", "; try: "});
}

TEST(ImageFolder, KnowsImagesByContentWhateverTheirNames) {
  const TemporaryDirectory root;
  const std::vector<std::uint8_t> png = write_png(noise_picture(7, 3, 1));
  for (const char* file : {"a/1.jfif", "a/2.webp", "a/3", "a/4.jpe", "a/5.JPG"}) write_bytes(root.path() / file, small_jpeg());
  write_bytes(root.path() / "a/6.bmp", png);

  const ImageFolder folder = read_image_folder(root.path());

  EXPECT_EQ(folder.images->size(), 6);
  EXPECT_EQ(folder.images->picture_size(5).width, 7);
  EXPECT_TRUE(folder.left_out.images.empty());
  EXPECT_EQ(folder.left_out.other_files.count, 0);
}

TEST(ImageFolder, CountsWhatItLeavesOutWithAnExampleOfEach) {
  const TemporaryDirectory root;
  for (const char* file : {"a/1.jpg", "b/1.jpg", "b/more/2.jpg", "stray.jpg"}) write_bytes(root.path() / file, small_jpeg());
  for (const char* file : {"b/2.webp", "a/2.webp"}) write_bytes(root.path() / file, to_bytes("RIFF\x10\x20\x30\x40WEBPVP8 "));
  write_bytes(root.path() / "a/3.bmp", to_bytes("BM and more"));
  write_bytes(root.path() / "a/4.gif", to_bytes("GIF89a and more"));
  for (const char* file : {"labels.csv", "a/1.txt", "LICENSE"}) write_bytes(root.path() / file, to_bytes("words"));
  for (const char* file : {"a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/a/._1.jpg", "a/Thumbs.db", "a/._1.jpg"})
    write_bytes(root.path() / file, small_jpeg());
  fs::create_symlink(root.path() / "nowhere", root.path() / "a/link.webp");

  const ImageFolder folder = read_image_folder(root.path().string() + "//");

  EXPECT_EQ(folder.images->size(), 3);
  EXPECT_EQ(folder.images->class_names(), (std::vector<std::string>{"a", "b"}));
  const LeftOut& left_out = folder.left_out;
  ASSERT_EQ(left_out.images.size(), 3u);
  EXPECT_EQ(left_out.images.at("WebP").count, 2);
  EXPECT_EQ(left_out.images.at("WebP").example, "a/2.webp");
  EXPECT_EQ(left_out.images.at("BMP").example, "a/3.bmp");
  EXPECT_EQ(left_out.images.at("GIF").count, 1);
  EXPECT_EQ(left_out.outside.example, "stray.jpg");
  EXPECT_EQ(left_out.other_files.count, 3);
  EXPECT_EQ(left_out.unreadable.example, "a/link.webp");
  EXPECT_EQ(left_out.system.count, 4);
  EXPECT_EQ(folder.nested.example, "b/more/2.jpg");
}

TEST(ImageFolder, DoesNotWaitForPipes) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "a/1.jpg", small_jpeg());
  for (const char* pipe : {"a/pipe.jpg", "a/pipe"}) ASSERT_EQ(mkfifo((root.path() / pipe).c_str(), 0600), 0);

  const ImageFolder folder = read_image_folder(root.path());

  EXPECT_EQ(folder.images->size(), 1);
  EXPECT_EQ(folder.left_out.other_files.count, 2);
}

TEST(ImageFolder, KeepsEmptyClassesWhereAsked) {
  const TemporaryDirectory root;
  for (const char* file : {"a/1.jpg", "c/1.jpg"}) write_bytes(root.path() / file, small_jpeg());
  for (const char* empty : {"b", "d"}) fs::create_directory(root.path() / empty);

  const ImageFolder folder = read_image_folder(root.path(), EmptyClasses::kept);

  EXPECT_EQ(folder.images->class_names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(folder.empty_classes, (std::vector<std::string>{"b", "d"}));
  EXPECT_EQ(folder.images->label(0), 0);
  EXPECT_EQ(folder.images->label(1), 2);
  EXPECT_EQ(folder.images->sample_name(1), (root.path() / "c/1.jpg").string());
}

TEST(ImageFolder, SaysOfAClassOfOtherFormatsWhatItHolds) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "a/1.jpg", small_jpeg());
  write_bytes(root.path() / "b/1.bmp", to_bytes("BM and more"));

  expect_parts(open_error(root.path()), {"class folder b without an image", "BMP files such as b/1.bmp", "as JPEG or PNG"});
}

/// 64 samples of 16 bits, growing to the largest.
std::vector<std::uint8_t> deep_png(int largest, std::array<std::uint8_t, 3> significant_bits = {}) {
  std::vector<std::uint8_t> rows;
  for (int i = 0; i < 64; ++i) {
    const int value = largest * i / 63;
    rows.insert(rows.end(), {static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)});
  }
  return write_png({.width = 8, .height = 8, .bit_depth = 16, .colour_type = 0, .significant_bits = significant_bits}, rows);
}

TEST(ImageFolder, FindsDeepImagesThatUseLittleOfTheirRange) {
  const TemporaryDirectory root;
  for (const char* file : {"a/1.png", "a/2.png", "b/3.png"}) write_bytes(root.path() / file, deep_png(65535));
  write_bytes(root.path() / "b/0.png", write_png(noise_picture(7, 3, 1)));
  write_bytes(root.path() / "b/1.jpg", small_jpeg());
  write_bytes(root.path() / "b/2.png", deep_png(4095, {12, 12, 12}));
  EXPECT_FALSE(find_narrow_range(*open_image_folder(root.path())));

  write_bytes(root.path() / "a/2.png", deep_png(4095));

  const auto narrow = find_narrow_range(*open_image_folder(root.path()));
  ASSERT_TRUE(narrow);
  EXPECT_EQ(narrow->file, (root.path() / "a/2.png").string());
  EXPECT_EQ(narrow->used_bits, 12);
}

TEST(ImageFolder, ASingleDarkDeepImageIsNotNarrowWhereOthersAreBright) {
  const TemporaryDirectory root;
  for (const char* file : {"a/1.png", "b/1.png"}) write_bytes(root.path() / file, deep_png(16383));
  EXPECT_EQ(find_narrow_range(*open_image_folder(root.path())).value().used_bits, 14);

  write_bytes(root.path() / "b/1.png", deep_png(60000));

  EXPECT_FALSE(find_narrow_range(*open_image_folder(root.path())));
}

TEST(ImageFolder, RefusesLinksThatLoop) {
  const TemporaryDirectory root;
  write_bytes(root.path() / "c/p.jpg", small_jpeg());
  fs::create_directory_symlink(root.path() / "c", root.path() / "c/again");

  expect_parts(open_error(root.path()), {"c/again to ", "which holds it", "; try: remove the link"});
}

}  // namespace
}  // namespace dtrain
