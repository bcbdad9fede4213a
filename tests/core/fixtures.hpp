// What the tests of the core share: a directory of their own, a small network, and stores in plain and blocked layouts.
#pragma once

#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "dtrain/layers.hpp"
#include "dtrain/parameters.hpp"

namespace dtrain::test {

/// A fresh directory that goes away with the object.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string path = (std::filesystem::temp_directory_path() / "dtrain-test-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot create " + path);
    path_ = path;
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::filesystem::path& path() const { return path_; }

  /// Names of the files in it, sorted.
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(path_)) found.push_back(entry.path().filename().string());
    std::sort(found.begin(), found.end());
    return found;
  }

 private:
  std::filesystem::path path_;
};

inline std::string read_bytes(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

inline void write_bytes(const std::filesystem::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// conv – bn – relu – pool – flatten – fc on 2-channel 8×8 pictures; odd extents, so that blocked layouts pad.
inline NetworkSpec small_network(std::int64_t num_classes = 3) {
  NetworkSpec network{.name = "small", .channels = 2, .height = 8, .width = 8, .num_classes = num_classes, .nodes = {}};
  network.nodes = {{"conv1", Convolution{.out_channels = 5, .kernel = 3, .padding = 1}, {kNetworkInput}},
                   {"bn1", BatchNorm{}, {0}},
                   {"relu", Relu{}, {1}},
                   {"pool", Pool{}, {2}},
                   {"flatten", Flatten{}, {3}},
                   {"fc", Linear{.out_features = num_classes}, {4}}};
  network.outputs = {{.node = 5}};
  return network;
}

/// The layout OIhw4i4o: blocks of 4 in the first two dimensions, padded up.
inline Layout blocked_layout(const Shape& shape) {
  constexpr std::int64_t kBlock = 4;
  std::int64_t spatial = 1;
  for (std::size_t d = 2; d < shape.size(); ++d) spatial *= shape[d];
  const std::int64_t out_blocks = (shape[0] + kBlock - 1) / kBlock;
  const std::int64_t in_blocks = (shape[1] + kBlock - 1) / kBlock;

  Layout layout;
  layout.size = out_blocks * in_blocks * spatial * kBlock * kBlock;
  layout.offsets.resize(shape.size());
  for (std::int64_t o = 0; o < shape[0]; ++o) {
    layout.offsets[0].push_back(o / kBlock * in_blocks * spatial * kBlock * kBlock + o % kBlock);
  }
  for (std::int64_t i = 0; i < shape[1]; ++i) {
    layout.offsets[1].push_back(i / kBlock * spatial * kBlock * kBlock + i % kBlock * kBlock);
  }
  std::int64_t stride = kBlock * kBlock;
  for (std::size_t d = shape.size(); d-- > 2;) {
    for (std::int64_t k = 0; k < shape[d]; ++k) layout.offsets[d].push_back(k * stride);
    stride *= shape[d];
  }
  return layout;
}

enum class StoreLayout { plain, blocked };

/// Entries of a network in the order of backward: last node first.
inline std::vector<ParameterStore::Entry> entries_of(const NetworkSpec& network, StoreLayout kind) {
  std::vector<ParameterStore::Entry> entries;
  const auto by_node = parameters_by_node(network);
  for (auto node = by_node.rbegin(); node != by_node.rend(); ++node) {
    for (const ParameterSpec& spec : *node) {
      const bool is_blocked = kind == StoreLayout::blocked && spec.shape.size() >= 2;
      entries.push_back({spec, is_blocked ? blocked_layout(spec.shape) : plain_layout(spec.shape)});
    }
  }
  return entries;
}

/// The row-major values of a tensor in a store.
inline std::vector<float> plain_values(const ParameterStore& store, const std::string& name) {
  const Slot* const slot = store.find(name);
  std::vector<float> plain(static_cast<std::size_t>(element_count(slot->spec.shape)));
  copy_to_plain(slot->layout, store.values(*slot), plain);
  return plain;
}

}  // namespace dtrain::test
