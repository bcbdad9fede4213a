// Tensor files that other programs wrote, real and made up, and the inconsistencies that are refused in them.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <numeric>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::TemporaryDirectory;
using test::write_bytes;

class ForeignTensorFile : public testing::Test {
 protected:
  /// Writes header and data as they are and reads the file.
  TensorFile read(const std::string& header, const std::string& data) const {
    std::string length(8, '\0');
    const std::uint64_t header_bytes = header.size();
    std::memcpy(length.data(), &header_bytes, 8);
    write_bytes(path_, length + header + data);
    return read_tensor_file(path_);
  }

  std::string fault(const std::string& header, const std::string& data) const {
    try {
      (void)read(header, data);
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  }

  void expect_fault(const std::string& header, const std::string& data, const std::string& part) const {
    const std::string text = fault(header, data);
    EXPECT_NE(text.find(part), std::string::npos) << header << "\n" << text;
    EXPECT_NE(text.find(path_.string()), std::string::npos) << text;
  }

 private:
  TemporaryDirectory directory_;
  std::filesystem::path path_ = directory_.path() / "foreign.safetensors";
};

template <typename T>
std::string bytes_of(const std::vector<T>& values) {
  std::string bytes(values.size() * sizeof(T), '\0');
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

TEST_F(ForeignTensorFile, MayLackMetadataAndBePaddedOrOrderedInAnyWay) {
  const TensorFile file = read(
      "{ \"b\" : {\"data_offsets\":[4,12],\"shape\":[2],\"dtype\":\"F32\"},\n"
      "  \"a\" : {\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]} }   \t\n  ",
      bytes_of<float>({1.0f, 2.0f, 3.0f}));

  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, "b");
  EXPECT_EQ(file.tensors[0].f32, (std::vector<float>{2.0f, 3.0f}));
  EXPECT_EQ(file.tensors[1].f32, std::vector<float>{1.0f});
  EXPECT_TRUE(file.metadata.empty());
}

TEST_F(ForeignTensorFile, WidensHalfPrecision) {
  // 1, −2, largest (65504), smallest normal 2^-14, smallest subnormal 2^-24, largest subnormal, −0, infinity.
  const TensorFile file = read("{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[0,16]}}",
                               bytes_of<std::uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x03ff, 0x8000, 0x7c00}));

  const std::vector<float> expected{1.0f, -2.0f, 65504.0f, 0x1.0p-14f, 0x1.0p-24f, 1023 * 0x1.0p-24f, -0.0f, INFINITY};
  EXPECT_EQ(file.tensors[0].f32, expected);
  EXPECT_TRUE(std::signbit(file.tensors[0].f32[6]));
}

TEST_F(ForeignTensorFile, KeepsHalfPrecisionNotANumber) {
  const TensorFile file =
      read("{\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}", bytes_of<std::uint16_t>({0x7e00}));

  EXPECT_TRUE(std::isnan(file.tensors[0].f32[0]));
}

TEST_F(ForeignTensorFile, ConvertsTheOtherTypes) {
  const TensorFile file = read(
      "{\"bf\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]},"
      "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[4,12]},"
      "\"i\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[12,20]},"
      "\"u\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[20,23]},"
      "\"l\":{\"dtype\":\"I64\",\"shape\":[1],\"data_offsets\":[23,31]}}",
      bytes_of<std::uint16_t>({0x3f80, 0xc049}) + bytes_of<double>({0.1}) + bytes_of<std::int32_t>({-5, 7}) +
          bytes_of<std::uint8_t>({0, 1, 255}) + bytes_of<std::int64_t>({-9}));

  EXPECT_EQ(file.find("bf")->f32, (std::vector<float>{1.0f, -3.140625f}));
  EXPECT_EQ(file.find("d")->f32, std::vector<float>{0.1f});
  EXPECT_EQ(file.find("i")->i64, (std::vector<std::int64_t>{-5, 7}));
  EXPECT_EQ(file.find("u")->i64, (std::vector<std::int64_t>{0, 1, 255}));
  EXPECT_EQ(file.find("l")->i64, std::vector<std::int64_t>{-9});
}

TEST_F(ForeignTensorFile, MayHoldTensorsOfAnyTypeNextToThoseThatAreWanted) {
  const TensorFile file = read(
      "{\"mask\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[0,2]},"
      "\"short\":{\"dtype\":\"I16\",\"shape\":[1],\"data_offsets\":[2,4]},"
      "\"wide\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[4,12]},"
      "\"tiny\":{\"dtype\":\"F8_E4M3\",\"shape\":[3],\"data_offsets\":[12,15]},"
      "\"packed\":{\"dtype\":\"F4\",\"shape\":[2,3],\"data_offsets\":[15,18]},"
      "\"newer\":{\"dtype\":\"F12_OF_TOMORROW\",\"shape\":[2],\"data_offsets\":[18,21]},"
      "\"w\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[21,25]}}",
      bytes_of<std::uint8_t>({1, 0}) + bytes_of<std::int16_t>({-300}) + std::string(17, 'x') + bytes_of<float>({7.0f}));

  EXPECT_EQ(file.find("mask")->i64, (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(file.find("short")->i64, std::vector<std::int64_t>{-300});
  EXPECT_EQ(file.find("w")->f32, std::vector<float>{7.0f});
  for (const char* name : {"wide", "tiny", "packed", "newer"}) {
    EXPECT_EQ(file.find(name)->type, ElementType::other) << name;
    EXPECT_TRUE(file.find(name)->f32.empty() && file.find(name)->i64.empty()) << name;
  }
  EXPECT_EQ(file.find("tiny")->stored_type, "F8_E4M3");
  EXPECT_EQ(file.find("packed")->shape, (Shape{2, 3}));
}

TEST_F(ForeignTensorFile, IsRefusedWhenARangeIsNotThatOfItsTypeAndShape) {
  const std::string data(4, 'x');
  expect_fault("{\"a\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,4]}}", data, "tensor a");
  expect_fault("{\"a\":{\"dtype\":\"F4\",\"shape\":[7],\"data_offsets\":[0,4]}}", data, "tensor a");       // 3½ bytes
  expect_fault("{\"a\":{\"dtype\":\"F6_E2M3\",\"shape\":[4],\"data_offsets\":[0,4]}}", data, "tensor a");  // 3 bytes
  expect_fault("{\"a\":{\"dtype\":\"NEW\",\"shape\":[4],\"data_offsets\":[0,3]}}", data, "4 bytes");       // does not cover
}

TEST_F(ForeignTensorFile, IsRefusedWhenRangesDoNotTileTheData) {
  const auto two = [](const std::string& first, const std::string& second) {
    return "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" + first +
           "},\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":" + second + "}}";
  };
  const std::string data(12, 'x');

  EXPECT_EQ(fault(two("[0,4]", "[4,12]"), data), "no error");
  expect_fault(two("[0,4]", "[0,8]"), data, "tensor b");             // overlap
  expect_fault(two("[2,6]", "[6,14]"), data, "tensor a");            // hole in front
  expect_fault(two("[0,4]", "[8,16]"), data, "tensor b");            // hole between
  expect_fault(two("[0,4]", "[4,12]"), data + "y", "13 bytes");      // hole behind
  expect_fault(two("[0,4]", "[4,12]"), data.substr(1), "tensor b");  // beyond the end
  expect_fault(two("[4,0]", "[4,12]"), data, "tensor a");            // reversed
  expect_fault(two("[0,8]", "[8,12]"), data, "tensor a");            // not the size of the shape
  expect_fault(two("[-4,0]", "[0,8]"), data, "tensor a");
  expect_fault(two("[0,4,4]", "[4,12]"), data, "tensor a");
  expect_fault(two("[0.0,4.0]", "[4,12]"), data, "tensor a");
}

TEST_F(ForeignTensorFile, IsRefusedWhenATensorIsMalformed) {
  const std::string data(4, 'x');
  expect_fault("{\"a\":{\"dtype\":4,\"shape\":[1],\"data_offsets\":[0,4]}}", data, "tensor a");
  expect_fault("{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}}", data, "-1");
  expect_fault("{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", data, "tensor a");
  expect_fault("{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", data, "tensor a");
  expect_fault("{\"a\":[]}", data, "tensor a");
  // 2^32 · 2^32 · 4 bytes is 0 modulo 2^64.
  expect_fault("{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", "", "tensor a");
}

TEST_F(ForeignTensorFile, IsRefusedWhenItsHeaderIsNotOne) {
  expect_fault("", "", "header");
  expect_fault("[]", "", "header");
  expect_fault("{\"a\":", "", "JSON");
  expect_fault("{}{}", "", "JSON");
  expect_fault("{\"\xff\":1}", "", "JSON");
  expect_fault("{\"__metadata__\":{\"k\":1}}", "", "metadata");
  expect_fault("{\"__metadata__\":[]}", "", "metadata");
  expect_fault(
      "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":["
      "1,2]}}",
      "xy", "twice");
}

TEST_F(ForeignTensorFile, IsRefusedWhenItsHeaderIsDeeperThanAHeader) {
  const std::string deep = std::string(3000, '[') + std::string(3000, ']');
  expect_fault("{\"a\":{\"dtype\":\"U8\",\"shape\":[[1]],\"data_offsets\":[0,1]}}", "x", "3 levels");
  expect_fault("{\"a\":{\"dtype\":\"U8\",\"shape\":" + deep + ",\"data_offsets\":[0,1]}}", "x", "3 levels");
  expect_fault("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,{\"b\":1}]}}", "x", "3 levels");
  expect_fault("{\"a\":" + deep + "}", "x", "3 levels");
  expect_fault("{\"__metadata__\":{\"a\":" + deep + "}}", "x", "3 levels");
  expect_fault("{\"a\":{\"dtype\":\"U8\",\"shape\":[\"1\"],\"data_offsets\":[0,1]}}", "x", "found a string");
  expect_fault("{\"a\":{\"dtype\":\"U8\",\"shape\":[null],\"data_offsets\":[0,1]}}", "x", "found a null");
}

TEST_F(ForeignTensorFile, IsRefusedInAMessageOfReadableLength) {
  const std::string many(100'000, 'm');
  std::string extents = "1";
  for (int i = 0; i < 100'000; ++i) extents += ",1";
  for (const std::string& header :
       {"{\"" + many + "\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,1]}}",
        "{\"" + many + "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
        "{\"a\":{\"dtype\":\"" + many + "\",\"shape\":[2],\"data_offsets\":[1,0]}}",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[" + extents + "],\"data_offsets\":[0,2]}}",
        "{\"__metadata__\":{\"" + many + "\":1}}", "{\"a\":\"" + many, "{\"" + many + "\":1,\"" + many + "\":1}",
        "{\"__metadata__\":{\"dtrain.version\":\"1\",\"dtrain.checksum\":\"" + many + "\"}}"}) {
    const std::string text = fault(header, "x");
    EXPECT_NE(text, "no error");
    EXPECT_LT(text.size(), 1000u) << text.substr(0, 300);
  }
}

TEST_F(ForeignTensorFile, IsRefusedWhenATextHoldsTheCharacterOfCode0) {
  const auto one = [](const std::string& name, const std::string& type) {
    return "{\"" + name + "\":{\"dtype\":\"" + type + "\",\"shape\":[1],\"data_offsets\":[0,1]}}";
  };
  EXPECT_EQ(fault(one("conv", "U8"), "x"), "no error");
  expect_fault(one("conv\\u0000.weight", "U8"), "x", "one after \"conv\"");
  expect_fault(one("conv", "U8\\u0000"), "x", "code 0");
  expect_fault("{\"__metadata__\":{\"model\\u0000\":\"lenet5\"}}", "", "code 0");
  expect_fault("{\"__metadata__\":{\"model\":\"lenet5\\u0000\"}}", "", "code 0");
}

TEST_F(ForeignTensorFile, IsRefusedWhenItsHeaderIsLongerThanTheFileOrThanReason) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  for (const std::uint64_t length : {std::uint64_t{3}, std::uint64_t{100'000'001}, UINT64_MAX, UINT64_MAX - 7}) {
    std::string bytes(10, '{');
    std::memcpy(bytes.data(), &length, 8);
    write_bytes(path, bytes);
    EXPECT_THROW((void)read_tensor_file(path), DataError) << length;
  }
}

/// Real files other programs wrote; skipped where there are none.
class RealTensorFile : public testing::Test {
 protected:
  void SetUp() override {
    const char* const root = std::getenv("DTRAIN_TEST_DATA");
    if (root == nullptr) GTEST_SKIP() << "DTRAIN_TEST_DATA does not name the directory of real test data";
    weights_ = std::filesystem::path(root) / "weights";
  }
  std::filesystem::path weights_;
};

TEST_F(RealTensorFile, OfSqueezeNetIsReadInFull) {
  const TensorFile file = read_tensor_file(weights_ / "squeezenet1_1/squeezenet1_1.safetensors");

  EXPECT_EQ(file.tensors.size(), 52u);
  EXPECT_EQ(file.metadata.size(), 1u);
  EXPECT_EQ(file.find("classifier.1.weight")->shape, (Shape{1000, 512, 1, 1}));
  const std::vector<float>& bias = file.find("classifier.1.bias")->f32;
  EXPECT_EQ(bias.front(), 0.03604126f);
  EXPECT_NEAR(std::accumulate(bias.begin(), bias.end(), 0.0), 10.936602413654327, 1e-9);
  std::int64_t parameters = 0;
  for (const FileTensor& tensor : file.tensors) parameters += element_count(tensor.shape);
  EXPECT_EQ(parameters, 1235496);  // torchvision.models.squeezenet1_1
}

TEST_F(RealTensorFile, OfTinygradIsReadInFull) {
  const TensorFile file = read_tensor_file(weights_ / "mnist_tinygrad_safetensors/model.safetensors");

  ASSERT_EQ(file.tensors.size(), 2u);
  EXPECT_EQ(file.tensors[0].name, "l1.weight");
  EXPECT_EQ(file.tensors[0].shape, (Shape{128, 784}));
  EXPECT_EQ(file.tensors[0].f32.front(), 0.019083437f);
  EXPECT_NEAR(std::accumulate(file.tensors[0].f32.begin(), file.tensors[0].f32.end(), 0.0), -71.07983601350975, 1e-9);
  EXPECT_EQ(file.tensors[1].shape, (Shape{10, 128}));
}

}  // namespace
}  // namespace dtrain
