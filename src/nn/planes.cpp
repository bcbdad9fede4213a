// Addresses of planes and runs; see planes.hpp.
#include "src/nn/planes.hpp"

#include "dtrain/error.hpp"

namespace dtrain::nn {

template <typename Element>
void Planes<Element>::append(const dnnl::memory& memory) {
  const Desc desc = memory.get_desc();
  const int block = channel_block(desc);
  check(block != 0, "planes: a tensor in blocks of channels");
  const Dims dims = dims_of(desc);
  const std::int64_t plane = dims[2] * dims[3] * block;
  const std::int64_t stride = picture_stride(desc);
  for (std::int64_t channel = 0; channel < dims[1]; channel += block) {
    blocks_.push_back({static_cast<Element*>(memory.get_data_handle()) + channel / block * plane, stride});
  }
}

template <typename Element>
void Planes<Element>::append_absent(const Desc& desc) {
  const int block = channel_block(desc);
  const std::int64_t channels = dims_of(desc)[1];
  blocks_.resize(blocks_.size() + static_cast<std::size_t>((channels + block - 1) / block));
}

template class Planes<float>;
template class Planes<BFloat16>;

Runs::Runs(const dnnl::memory& memory) : data(memory.get_data_handle()), length(1) {
  const Desc desc = memory.get_desc();
  is_bf16 = type_of(desc) == kBf16;
  const Dims padded = padded_dims_of(desc);
  count = dims_of(desc)[0];
  stride = picture_stride(desc);
  for (std::size_t d = 1; d < padded.size(); ++d) length *= padded[d];
}

Runs Runs::moved_to(const dnnl::memory& memory) const {
  Runs moved = *this;
  moved.data = memory.get_data_handle();
  return moved;
}

}  // namespace dtrain::nn
