// Files written in pieces: the bytes of those that are written at once, whatever the pieces; and offsets beyond 32 bits.
#include <gtest/gtest.h>

#include <numeric>
#include <stdexcept>

#include "dtrain/tensor_file_writer.hpp"
#include "fixtures.hpp"

namespace dtrain::test {
namespace {

TensorFile numbered_file() {
  TensorFile file;
  FileTensor rows{.name = "logits", .shape = {7, 5}};
  rows.f32.resize(35);
  std::iota(rows.f32.begin(), rows.f32.end(), 0.5f);
  FileTensor none{.name = "none", .shape = {0, 4}};
  FileTensor numbers{.name = "samples", .shape = {7}, .type = ElementType::i64};
  numbers.i64 = {0, 1, 2, 4, 5, 6, 9};
  file.tensors = {rows, none, numbers};
  file.metadata["dtrain.model"] = "lenet5";
  return file;
}

std::string data_of(const TensorFile& file) {
  std::string data(reinterpret_cast<const char*>(file.tensors[2].i64.data()), 7 * sizeof(std::int64_t));
  return data + std::string(reinterpret_cast<const char*>(file.tensors[0].f32.data()), 35 * sizeof(float));
}

std::vector<TensorOutline> outlines_of(const TensorFile& file) {
  std::vector<TensorOutline> outlines;
  for (const FileTensor& tensor : file.tensors) outlines.push_back({tensor.name, tensor.shape, tensor.type});
  return outlines;
}

TEST(TensorFileWriter, WritesTheBytesOfWriteTensorFileInPiecesOfAnySize) {
  const TemporaryDirectory directory;
  const TensorFile file = numbered_file();
  write_tensor_file(directory.path() / "whole", file);
  const std::string data = data_of(file);

  for (const std::size_t piece : {1, 3, 8, 31, 32, 33, 100, 1000}) {
    const auto path = directory.path() / "pieces";
    TensorFileWriter writer(path, outlines_of(file), file.metadata);
    for (std::size_t at = 0; at < data.size(); at += piece) {
      writer.write(std::as_bytes(std::span(data).subspan(at, std::min(piece, data.size() - at))));
    }
    writer.commit();

    EXPECT_EQ(read_bytes(path), read_bytes(directory.path() / "whole")) << piece;
    EXPECT_EQ(read_tensor_file(path).tensors[2].i64, file.tensors[2].i64);
  }
}

TEST(TensorFileWriter, LeavesTheOldFileUnlessAllIsWritten) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_bytes(path, "old");
  {
    TensorFileWriter writer(path, {{.name = "t", .shape = {2}}}, {});
    const float first = 1.0f;
    writer.write(std::as_bytes(std::span(&first, 1)));
    EXPECT_THROW(writer.commit(), std::logic_error);
  }

  EXPECT_EQ(read_bytes(path), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(directory.path()), {}), 1);
}

TEST(TensorFileWriter, CountsBeyondThirtyTwoBits) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  { TensorFileWriter writer(path, {{.name = "logits", .shape = {3'000'000, 1000}}, {.name = "b", .shape = {3}}}, {}); }
  // Nothing is left; the header is looked at while the file is being written.
  TensorFileWriter writer(path, {{.name = "logits", .shape = {3'000'000, 1000}}, {.name = "b", .shape = {3}}}, {});
  std::string header;
  for (const auto& entry : std::filesystem::directory_iterator(directory.path())) header = read_bytes(entry.path());

  EXPECT_NE(header.find("\"data_offsets\":[0,12000000000]"), std::string::npos) << header;
  EXPECT_NE(header.find("\"data_offsets\":[12000000000,12000000012]"), std::string::npos) << header;
}

}  // namespace
}  // namespace dtrain::test
