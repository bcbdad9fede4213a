// Picture files are recognised by what they hold, and refused in words that say what was found.
#include <gtest/gtest.h>

#include "fixtures.hpp"
#include "picture_writers.hpp"
#include "src/data/picture_file.hpp"

namespace dtrain {
namespace {

using namespace std::string_literals;

Picture decode(const std::vector<std::uint8_t>& bytes, const std::string& name = "some.jpg") {
  Picture picture;
  decode_picture(
      bytes, name, [](const PictureSize&) { return DecodeHint{}; }, picture);
  return picture;
}

TEST(PictureFile, RecognisesJpegAndPngByContentAlone) {
  const Picture picture = noise_picture(3, 2, 1);

  EXPECT_EQ(sniff_picture(write_png(picture)), PictureKind::png);
  EXPECT_EQ(sniff_picture(write_jpeg({.width = 3, .height = 2}, picture.rgb)), PictureKind::jpeg);
  EXPECT_EQ(sniff_picture(to_bytes("GIF89a")), PictureKind::other);
  EXPECT_EQ(sniff_picture({}), PictureKind::other);
}

TEST(PictureFile, DecodesAPngThatIsNamedJpeg) {
  const Picture picture = noise_picture(5, 4, 2);

  const Picture decoded = decode(write_png(picture), "misnamed.jpeg");

  EXPECT_EQ(decoded.width, 5);
  EXPECT_EQ(decoded.height, 4);
  EXPECT_EQ(decoded.rgb, picture.rgb);
}

TEST(PictureFile, NamesTheKindOfWhatIsNeitherJpegNorPng) {
  const std::vector<std::pair<std::string, std::string>> cases{
      {"BM\x8e\x7b\x0c\x00\x00\x00"s, "a BMP picture"},
      {"II*\0\x08\0\0\0"s, "a TIFF picture"},
      {"MM\0*\0\0\0\x08"s, "a TIFF picture"},
      {"P6\n640 426\n255\n\x01"s, "a PNM picture"},
      {"P4\n640 426\n\xff"s, "a PNM picture"},
      {"GIF89a\x01"s, "a GIF picture"},
      {"RIFF\x10\0\0\0WEBPVP8 "s, "a WebP picture"},
      {"version https://git-lfs.github.com/spec/v1\n"s, "a Git LFS pointer"},
      {"<!DOCTYPE html><html>404"s, "an HTML page"},
      {"404: not found\n"s, "text"},
      {std::string(100, '\0'), "zeros alone"},
      {"\x01\x02\x03\x04"s, "bytes of no picture format"},
      {""s, "an empty file"}};
  for (const auto& [content, words] : cases) {
    const std::string text = data_error_of([&] { decode(to_bytes(content), "dir/picture.jpg"); });

    EXPECT_NE(text.find("dir/picture.jpg"), std::string::npos) << text;
    EXPECT_NE(text.find("expected JPEG or PNG"), std::string::npos) << text;
    EXPECT_NE(text.find("found " + words), std::string::npos) << text << " for " << words;
    EXPECT_NE(text.find("; try: "), std::string::npos) << text;
  }
}

TEST(PictureFile, RefusesExtentsThatWouldClaimAllMemory) {
  std::vector<std::uint8_t> bytes = write_png(noise_picture(2, 2, 3));
  bytes[16] = 0x7f;  // width in the header: 2^31 − …

  const std::string text = data_error_of([&] { decode(bytes); });

  EXPECT_NE(text.find("pixels"), std::string::npos) << text;
  EXPECT_NE(text.find("2130706434 x 2"), std::string::npos) << text;
}

TEST(PictureFile, ReadsFilesWholeOrInPart) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "file";
  write_bytes(path, to_bytes("0123456789"));

  const FileBytes whole = read_file(path.string());
  const FileBytes exact = read_file(path.string(), 10);
  const FileBytes part = read_file(path.string(), 4);

  EXPECT_EQ(whole.size, 10u);
  EXPECT_TRUE(whole.is_whole);
  EXPECT_TRUE(exact.is_whole);
  EXPECT_EQ(part.size, 4u);
  EXPECT_FALSE(part.is_whole);
  EXPECT_EQ(part.view()[3], '3');
}

TEST(PictureFile, SaysWhyAFileCannotBeRead) {
  const TemporaryDirectory directory;

  const std::string missing = data_error_of([&] { read_file((directory.path() / "none.jpg").string()); });
  const std::string folder = data_error_of([&] { read_file(directory.path().string()); });

  EXPECT_NE(missing.find("none.jpg"), std::string::npos) << missing;
  EXPECT_NE(missing.find("No such file"), std::string::npos) << missing;
  EXPECT_NE(folder.find("no regular file"), std::string::npos) << folder;
}

}  // namespace
}  // namespace dtrain
