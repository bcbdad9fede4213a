// Where the planes of a tensor lie for kernels of our own: a plane is the pixels of one block of channels of one picture.
#pragma once

#include <cstdint>
#include <vector>

#include "src/nn/element.hpp"
#include "src/nn/onednn.hpp"

namespace dtrain::nn {

/// The planes of one tensor in blocks of channels (nChw8c, nChw16c), or of several that follow one another in channels. Each
/// may be a slice of the channels of a larger tensor: then its pictures lie further apart than they are large.
template <typename Element>
class Planes {
 public:
  Planes() = default;
  /// memory: its address is set. Its blocks follow those of the tensors before.
  void append(const dnnl::memory& memory);
  /// A tensor that is not there: its planes are null.
  void append_absent(const Desc& desc);

  bool is_empty() const { return blocks_.empty(); }
  Element* at(std::int64_t block, std::int64_t picture) const {
    const Place& place = blocks_[static_cast<std::size_t>(block)];
    return place.first_picture + picture * place.picture_stride;
  }

 private:
  struct Place {
    Element* first_picture = nullptr;
    std::int64_t picture_stride = 0;
  };
  std::vector<Place> blocks_;
};

/// A tensor of any layout, or a slice of its channels, for element-wise work: a run of elements for every picture (or row).
struct Runs {
  Runs() = default;
  /// memory: its address is set.
  explicit Runs(const dnnl::memory& memory);
  /// The same runs where `memory`, of the same layout, has its address now. A step may call this: no layout is looked up.
  Runs moved_to(const dnnl::memory& memory) const;

  template <typename Element>
  Element* at(std::int64_t run) const {
    return static_cast<Element*>(data) + run * stride;
  }

  void* data = nullptr;
  bool is_bf16 = false;
  std::int64_t count = 0;
  std::int64_t length = 0;  ///< in elements, with padding
  std::int64_t stride = 0;  ///< from a run to the next
};

}  // namespace dtrain::nn
