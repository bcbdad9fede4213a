// What is given as weights and is none is named for what it is, with what to do about it.
#include <gtest/gtest.h>

#include <cstring>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "src/file_kind.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using namespace std::string_literals;
using test::TemporaryDirectory;
using test::write_bytes;

class FileKinds : public testing::Test {
 protected:
  std::string fault(const std::string& name, const std::string& bytes) const {
    write_bytes(directory_.path() / name, bytes);
    return fault_of(directory_.path() / name);
  }
  static std::string fault_of(const std::filesystem::path& path) {
    try {
      (void)read_tensor_file(path);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }
  void expect_named(const std::string& name, const std::string& bytes, const std::string& found,
                    const std::string& remedy) const {
    const std::string text = fault(name, bytes);
    EXPECT_NE(text.find("found " + found), std::string::npos) << text;
    EXPECT_NE(text.find(remedy), std::string::npos) << text;
    EXPECT_NE(text.find((directory_.path() / name).string()), std::string::npos) << text;
  }

  TemporaryDirectory directory_;
};

/// The start of a zip archive whose first entry has this name.
std::string zip_with(const std::string& entry) {
  std::string bytes = "PK\3\4" + std::string(26, '\0') + entry;
  bytes[26] = static_cast<char>(entry.size());
  return bytes + std::string(100, '\1');
}

TEST_F(FileKinds, APointerOfGitLfsSaysHowToGetTheFile) {
  expect_named("w.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46827520\n",
               "a pointer of Git LFS to a file of 46827520 bytes", "git lfs pull");
}

TEST_F(FileKinds, APageInPlaceOfADownloadIsNamed) {
  expect_named("w.safetensors", "<!DOCTYPE html>\n<html><head><title>Sign in</title>", "an HTML page", "/resolve/");
  expect_named("w.safetensors", "\n  <HTML>not found", "an HTML page", "/resolve/");
  expect_named("w.safetensors", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "an XML text", "again");
  expect_named("w.safetensors", "Entry not found", "a text that begins \"Entry not found\"", "the weight file");
}

TEST_F(FileKinds, WhatTorchSaveWroteComesWithTheLineThatConvertsIt) {
  const std::string legacy = "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02\x4d"s;
  expect_named("resnet18-f37072fd.pth", zip_with("archive/data.pkl"), "a file of torch.save (zip", "save_file");
  expect_named("model.bin", zip_with("model/version"), "a file of torch.save (zip", "torch.load");
  expect_named("best.pt", legacy, "a file of torch.save in its format before 1.6", "save_file");
  expect_named("best.pkl", "\x80\x04\x95\x0b"s, "a pickle of Python", "save_file");
}

TEST_F(FileKinds, OtherArchivesAndFormatsAreNamed) {
  std::string tar(600, '\0');
  std::memcpy(tar.data() + 257, "ustar", 5);
  std::memcpy(tar.data(), "model/w.safetensors", 19);
  expect_named("w.npz", zip_with("conv1.weight.npy"), "arrays of NumPy", "torchvision's names");
  expect_named("w.zip", zip_with("readme.txt"), "a zip archive", "unpack");
  expect_named("w.tar", tar, "a tar archive", "tar -xf");
  expect_named("w.gz", "\x1f\x8b\x08\0"s, "a file compressed by gzip", "gunzip");
  expect_named("w.h5", "\x89HDF\r\n\x1a\n", "an HDF5 file", "torchvision's names");
  expect_named("w.npy", "\x93NUMPY\1"s, "an array of NumPy", "save_file");
  expect_named("w",
               "\x08\x07\x12\x07pytorch\x1a\x05"
               "2.0.0",
               "an ONNX model", "exported from");
  expect_named("w.onnx", "\x0a\x01\x02\x01\x01\x01\x01\x01\x01"s, "an ONNX model", "exported from");
  expect_named("w.caffemodel", "\x0a\x05vgg16\x01\x01", "weights of Caffe", "safetensors");
  expect_named("w.safetensors", "\xff\xd8\xff\xe0\x01\x10JFIF", "a JPEG image", "the weight file");
}

TEST_F(FileKinds, TextsOfJsonAreToldApart) {
  expect_named(
      "model.safetensors.index.json",
      "{\n  \"metadata\": {\"total_size\": 9},\n  \"weight_map\": {\"fc.weight\": \"model-00001-of-00002.safetensors\"}}",
      "an index of weights that lie in several files", "joining");
  expect_named("config.json", "{\n  \"architectures\": [\"ResNet\"]}", "a JSON text", "next to it");
}

TEST_F(FileKinds, WhatIsMissingIsSaid) {
  std::string cut = std::string("\x10\x27\0\0\0\0\0\0{\"conv1.weight\":", 24);
  expect_named("w.safetensors", "", "an empty file", "again");
  expect_named("w.safetensors", cut, "a safetensors file that was cut short: 24 bytes, though its header alone takes 10008",
               "again");
  expect_named("w.safetensors", std::string(5000, '\0'), "zeros", "again");
  expect_named("w.safetensors", "\x01\x02\x03", "3 bytes of another kind, which begin 01 02 03", "safetensors");
}

TEST_F(FileKinds, OfADirectoryTheWeightFilesInItAreNamed) {
  std::filesystem::create_directory(directory_.path() / "run");
  EXPECT_NE(fault_of(directory_.path() / "run").find("found a directory; try: a file with weights"), std::string::npos);

  write_bytes(directory_.path() / "run" / "best.safetensors", "");
  write_bytes(directory_.path() / "run" / "log.txt", "");

  const std::string text = fault_of(directory_.path() / "run");
  EXPECT_NE(text.find("found a directory; try: " + (directory_.path() / "run/best.safetensors").string()), std::string::npos)
      << text;
}

TEST(FileKind, DoesNotPutAPathWithQuotesIntoACommand) {
  const std::string bytes = zip_with("archive/data.pkl");

  const FileKind kind = recognise_file("it's.pth", std::as_bytes(std::span(bytes)), bytes.size());

  EXPECT_NE(kind.remedy.find("torch.load(\"FILE\""), std::string::npos) << kind.remedy;
}

}  // namespace
}  // namespace dtrain
