// What the tests of pictures share: a directory that disappears, a data set in memory, and the text of a DataError.
#pragma once

#include <stdlib.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "dtrain/data.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

/// A new directory, removed with everything in it at the end of the test.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "dtrain_test_XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes a file, making its directories.
inline void write_bytes(const std::filesystem::path& path, const std::vector<std::uint8_t>& bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
}

inline std::vector<std::uint8_t> read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline std::vector<std::uint8_t> to_bytes(std::string_view text) { return {text.begin(), text.end()}; }

/// Text of the DataError that `action` throws; empty when it throws none.
template <typename Action>
std::string data_error_of(const Action& action) {
  try {
    action();
  } catch (const DataError& error) {
    return error.what();
  }
  return {};
}

/// Flat pictures: sample i has the colour (i, 2i, 3i) mod 256 and the label i mod 7. Some may be damaged, decoding may be slow.
class FlatDataset final : public Dataset {
 public:
  explicit FlatDataset(std::int64_t count, std::int64_t extent = 4) : count_(count), extent_(extent) {}

  std::set<std::int64_t> damaged;
  std::chrono::microseconds delay{0};
  std::function<void(std::int64_t sample)> before_decoding = [](std::int64_t) {};

  std::int64_t size() const override { return count_; }
  const std::vector<std::string>& class_names() const override { return class_names_; }
  std::int32_t label(std::int64_t sample) const override { return static_cast<std::int32_t>(sample % 7); }
  std::string sample_name(std::int64_t sample) const override { return "flat/" + std::to_string(sample); }
  std::uint64_t digest() const override { return 0; }
  PictureSize picture_size(std::int64_t) const override { return {extent_, extent_}; }
  void decode(std::int64_t sample, const DecodeHint&, Picture& picture) const override {
    if (delay.count() > 0) std::this_thread::sleep_for(delay);
    before_decoding(sample);
    if (damaged.contains(sample)) throw DataError("decoding " + sample_name(sample) + ": found damage");
    picture.width = picture.height = extent_;
    picture.rgb.resize(static_cast<std::size_t>(extent_ * extent_ * 3));
    for (std::size_t i = 0; i < picture.rgb.size(); ++i) {
      picture.rgb[i] = static_cast<std::uint8_t>(sample * (static_cast<std::int64_t>(i % 3) + 1));
    }
  }

 private:
  std::int64_t count_;
  std::int64_t extent_;
  std::vector<std::string> class_names_{"a", "b", "c", "d", "e", "f", "g"};
};

/// Normalisation that leaves v/255.
inline TransformOptions plain_options(std::int64_t crop) {
  return {.resize = 0, .crop = crop, .mean = {0.0f, 0.0f, 0.0f}, .stddev = {1.0f, 1.0f, 1.0f}};
}

inline LoaderOptions loader_options(int workers, std::int64_t max_batch, int prefetch = 3) {
  return {.transform = plain_options(4), .workers = workers, .prefetch_batches = prefetch, .max_batch = max_batch};
}

}  // namespace dtrain
