// Weight files and checkpoints that were damaged in every way are refused with a message, or read as what they say: nothing
// else. DTRAIN_MUTATIONS=N of them are made (500 by default), always the same.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/import_weights.hpp"
#include "dtrain/models.hpp"
#include "launch/commands.hpp"
#include "tests/core/fixtures.hpp"
#include "tests/launch/mutations.hpp"

namespace dtrain {
namespace {

using namespace std::string_literals;
using test::entries_of;
using test::Mutator;
using test::plain_values;
using test::read_bytes;
using test::small_network;
using test::StoreLayout;
using test::TemporaryDirectory;
using test::write_bytes;

constexpr std::uint64_t kUsualMutations = 500;
constexpr std::size_t kLongestMessage = 20'000;
constexpr std::uint64_t kInspectedOnceIn = 50;  // it compares with every network that there is

std::uint64_t mutations() {
  const char* const text = std::getenv("DTRAIN_MUTATIONS");
  return text == nullptr ? kUsualMutations : std::strtoull(text, nullptr, 10);
}

/// In memory, so that writing waits for no disk.
TemporaryDirectory quick_directory() {
  std::error_code ignored;
  if (std::filesystem::is_directory("/dev/shm", ignored)) setenv("TMPDIR", "/dev/shm", 1);
  return TemporaryDirectory();
}

/// Another program's file: types that become floats, and some that do not.
std::string foreign_file() {
  const NetworkSpec network = small_network();
  nlohmann::ordered_json header;
  std::string data;
  for (const auto& node : parameters_by_node(network)) {
    for (const ParameterSpec& spec : node) {
      const bool is_half = spec.name.starts_with("fc");
      const auto count = static_cast<std::size_t>(element_count(spec.shape));
      const std::size_t begin = data.size();
      for (std::size_t i = 0; i < count; ++i) {
        const float value = 0.25f + 0.01f * static_cast<float>(i % 50);
        char bytes[sizeof value];
        std::memcpy(bytes, &value, sizeof value);
        data += is_half ? std::string(bytes + 2, 2) : std::string(bytes, 4);
      }
      header[spec.name] = {{"dtype", is_half ? "BF16" : "F32"}, {"shape", spec.shape}, {"data_offsets", {begin, data.size()}}};
    }
  }
  header["bn1.num_batches_tracked"] = {{"dtype", "I64"}, {"shape", Shape{}}, {"data_offsets", {data.size(), data.size() + 8}}};
  data += "\7"s + std::string(7, '\0');
  header["mask"] = {{"dtype", "BOOL"}, {"shape", {3}}, {"data_offsets", {data.size(), data.size() + 3}}};
  data += "\1\0\1"s;
  const std::string text = header.dump();
  const std::uint64_t length = text.size();
  std::string file(sizeof length, '\0');
  std::memcpy(file.data(), &length, sizeof length);
  return file + text + data;
}

/// How files begin that hold weights, and that dtrain tells by name.
std::vector<std::string> other_formats() {
  const auto zip = [](const std::string& entry) {
    std::string bytes = "PK\3\4" + std::string(26, '\0') + entry + std::string(60, '\1') + "PK\1\2" + std::string(60, '\2');
    bytes[26] = static_cast<char>(entry.size());
    return bytes;
  };
  return {zip("resnet18/data.pkl"),
          zip("conv1.weight.npy"),
          zip("model.weights.h5"),
          "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e\x80\x02M\xe9\x03."s,
          "\x80\x04\x95\x20\0\0\0\0\0\0\0}\x94\x8c\x05"s + "model",
          "\x93NUMPY\x01\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }\n"s + std::string(12, '\0'),
          "\x08\x07\x12\x07pytorch\x1a\x05"s + "1.8.0:\x80\x01\x0a\x10" + std::string(100, '\x12'),
          "\x89HDF\r\n\x1a\n"s + std::string(60, '\0'),
          "\x0a\x09ResNet-50\x12\x04" + std::string(80, '\x1a'),
          "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 46827520\n",
          "{\"metadata\":{},\"weight_map\":{\"a\":\"b\"}}",
          std::string(257, '\0') + "ustar" + std::string(100, '\0')};
}

/// A store with its optimizer.
struct TrainedNetwork {
  TrainedNetwork() : network(small_network()), store(entries_of(network, StoreLayout::plain)), optimizer({}, store) {
    initialize(network, 1, store);
  }
  NetworkSpec network;
  ParameterStore store;
  Optimizer optimizer;
};

class MutatedFiles : public testing::Test {
 protected:
  void SetUp() override {
    const TrainedNetwork run;
    const CheckpointPaths paths{directory_.path() / "run"};
    RankStatistics own{.images = {32, 31}, .values = std::vector<float>(2 * run.store.statistics().size(), 0.5f)};
    save_checkpoint(
        paths, run.store, tensor_names(run.network), run.optimizer,
        {.step = 7,
         .samples_in_epoch = 96,
         .epoch = 3,
         .seed = 5,
         .best_top1 = 0.5,
         .card = {.model = "small", .class_names = {"a", "b", "c"}, .preprocessing = Preprocessing{}, .learning_rate = 0.1},
         .damaged = {3, 5},
         .recipe = "batch=32\nschedule=poly",
         .rank_statistics = std::move(own)},
        {.newest = 1});
    own_ = {read_tensor_file(paths.last()), read_tensor_file(paths.checkpoint(7))};
    files_ = {read_bytes(paths.last()), read_bytes(paths.checkpoint(7)), foreign_file()};
    const std::vector<std::string> others = other_formats();
    files_.insert(files_.end(), others.begin(), others.end());
  }

  /// Whether `read` was done. What it throws is a DataError of a length that people read.
  template <typename Read>
  bool takes(const char* what, Read read) {
    try {
      read();
      return true;
    } catch (const DataError& error) {
      EXPECT_LT(std::strlen(error.what()), kLongestMessage) << what;
      EXPECT_GT(std::strlen(error.what()), 0u) << what;
    } catch (const std::exception& error) {
      ADD_FAILURE() << what << ": " << error.what();
    }
    return false;
  }

  /// Reads the file as every command would.
  void read_in_every_way(const std::filesystem::path& path, bool inspects) {
    TensorFile header, file;
    const bool has_header = takes("header", [&] { header = read_tensor_header(path); });
    const bool is_read = takes("file", [&] { file = read_tensor_file(path); });
    if (is_read) expect_as_written(file, header, has_header, read_bytes(path));
    if (has_header) (void)takes("card", [&] { (void)card_of(header); });
    if (is_read) {
      ++read_;
      for (const ImportMode mode : {ImportMode::exact, ImportMode::fine_tune, ImportMode::partial}) expect_imported(file, mode);
      expect_restored(path, file);
    }
    if (inspects) (void)takes("inspect", [&] { (void)inspect_text({.file = path.string()}); });
  }

  void expect_imported(const TensorFile& file, ImportMode mode) {
    TrainedNetwork run;
    const std::uint64_t before = run.store.fingerprint();
    const bool is_taken = takes("import", [&] {
      (void)import_weights(file, run.store, {.mode = mode, .model = "small", .head_names = {"fc.weight", "fc.bias"}});
    });
    if (!is_taken) {
      EXPECT_EQ(run.store.fingerprint(), before);
      return;
    }
    ++imported_;
    for (const auto* slots : {&run.store.trained_slots(), &run.store.statistics_slots()}) {
      for (const Slot& slot : *slots) {
        const std::vector<float> values = plain_values(run.store, slot.spec.name);
        EXPECT_TRUE(std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) << slot.spec.name;
        const FileTensor* const tensor = file.find(slot.spec.name);
        if (mode != ImportMode::exact || tensor == nullptr) continue;
        EXPECT_EQ(values, tensor->f32) << slot.spec.name;
      }
    }
    EXPECT_GE(run.store.batches_tracked, 0);
  }

  void expect_restored(const std::filesystem::path& path, const TensorFile& file) {
    TrainedNetwork run;
    const std::uint64_t before = run.store.fingerprint();
    TrainingPosition position;
    if (!takes("restore", [&] { position = restore_checkpoint(path, file, run.store, run.optimizer, "small"); })) {
      EXPECT_EQ(run.store.fingerprint(), before);
      return;
    }
    ++restored_;
    EXPECT_GE(position.step, 0);
    EXPECT_GE(position.epoch, 0);
    EXPECT_GE(position.samples_in_epoch, 0);
    EXPECT_TRUE(std::isfinite(position.best_top1));
    for (const std::int64_t sample : position.damaged) EXPECT_GE(sample, 0);
    for (const std::int64_t images : position.rank_statistics.images) EXPECT_GE(images, 0);
    EXPECT_EQ(position.rank_statistics.values.size(), position.rank_statistics.images.size() * run.store.statistics().size());
  }

  /// By another reader of JSON, straight from the bytes.
  static void expect_as_written(const TensorFile& file, const TensorFile& header, bool has_header, const std::string& bytes) {
    ASSERT_TRUE(has_header);
    ASSERT_EQ(header.tensors.size(), file.tensors.size());
    EXPECT_EQ(header.metadata, file.metadata);
    std::uint64_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof length);
    const auto json = nlohmann::json::parse(bytes.substr(sizeof length, length));
    EXPECT_EQ(file.tensors.size() + (json.contains("__metadata__") ? 1 : 0), json.size());
    for (std::size_t i = 0; i < file.tensors.size(); ++i) {
      const FileTensor& tensor = file.tensors[i];
      EXPECT_EQ(header.tensors[i].name, tensor.name);
      ASSERT_TRUE(json.contains(tensor.name));
      EXPECT_EQ(json[tensor.name]["shape"].get<Shape>(), tensor.shape);
      const auto elements = static_cast<std::size_t>(element_count(tensor.shape));
      EXPECT_EQ(tensor.f32.size(), tensor.type == ElementType::f32 ? elements : 0) << tensor.name;
      EXPECT_EQ(tensor.i64.size(), tensor.type == ElementType::i64 ? elements : 0) << tensor.name;
      const std::size_t begin = sizeof length + length + json[tensor.name]["data_offsets"][0].get<std::size_t>();
      if (tensor.stored_type == "F32" && elements > 0) {
        ASSERT_LE(begin + 4 * elements, bytes.size());
        EXPECT_EQ(std::memcmp(tensor.f32.data(), bytes.data() + begin, 4 * elements), 0) << tensor.name;
      }
    }
  }

  TemporaryDirectory directory_ = quick_directory();
  std::vector<TensorFile> own_;     ///< a file of weights and a checkpoint
  std::vector<std::string> files_;  ///< the same, another program's, and other formats
  std::uint64_t read_ = 0, imported_ = 0, restored_ = 0;
};

TEST_F(MutatedFiles, AreAsTheyWereWhereNothingIsChanged) {
  for (const std::string& bytes : files_) {
    const auto path = directory_.path() / "file";
    write_bytes(path, bytes);
    read_in_every_way(path, true);
  }

  EXPECT_EQ(read_, 3u);
  EXPECT_EQ(imported_, 9u);
  EXPECT_EQ(restored_, 1u);
}

TEST_F(MutatedFiles, AreRefusedOrReadAsWhatTheySay) {
  const auto path = directory_.path() / "file";
  const std::uint64_t count = mutations();
  std::uint64_t own_with_checksum = 0;
  for (std::uint64_t seed = 1; seed <= count && !HasFailure(); ++seed) {
    SCOPED_TRACE("mutation " + std::to_string(seed));
    Mutator mutator(seed);
    if (seed % 2 == 0) {
      TensorFile changed = own_[mutator.below(own_.size())];
      for (std::uint64_t i = 0; i <= mutator.below(3); ++i) changed = mutator.contents(std::move(changed));
      write_tensor_file(path, changed);
    } else {
      const std::size_t which = mutator.below(files_.size() + 6);  // a third of them one of the first
      const std::size_t file = which < files_.size() ? which : which % 3;
      write_bytes(path, mutator.bytes(files_[file], files_[mutator.below(files_.size())]));
      const std::string bytes = read_bytes(path);
      const bool is_changed = bytes != files_[file];
      TensorFile read;
      if (is_changed && takes("file", [&] { read = read_tensor_file(path); }) && read.metadata.contains("dtrain.version")) {
        ++own_with_checksum;  // what is not a whole file of dtrain's never has a right checksum
        EXPECT_TRUE(std::ranges::find(files_, bytes) != files_.end());
      }
    }
    read_in_every_way(path, seed % kInspectedOnceIn < 2);
  }

  RecordProperty("read", std::to_string(read_));
  EXPECT_GT(read_, count / 4);
  EXPECT_GT(imported_, count / 8);
  EXPECT_GT(restored_, 0u);
  std::printf("%llu mutations: %llu read, %llu imported, %llu restored, %llu other whole files\n",
              static_cast<unsigned long long>(count), static_cast<unsigned long long>(read_),
              static_cast<unsigned long long>(imported_), static_cast<unsigned long long>(restored_),
              static_cast<unsigned long long>(own_with_checksum));
}

}  // namespace
}  // namespace dtrain
