// Addresses of planes and runs; see planes.hpp.
#include "src/nn/planes.hpp"

#include "dtrain/error.hpp"

namespace dtrain::nn {

void Planes::append(const dnnl::memory& memory) {
  const Desc desc = memory.get_desc();
  const int block = channel_block(desc);
  check(block != 0, "planes: a tensor in blocks of channels");
  const Dims dims = desc.dims();
  const std::int64_t plane = dims[2] * dims[3] * block;
  for (std::int64_t channel = 0; channel < dims[1]; channel += block) {
    blocks_.push_back({floats(memory) + channel / block * plane, picture_stride(desc)});
  }
}

void Planes::append_absent(const Desc& desc) {
  const int block = channel_block(desc);
  const std::int64_t channels = desc.dims()[1];
  blocks_.resize(blocks_.size() + static_cast<std::size_t>((channels + block - 1) / block));
}

Runs::Runs(const dnnl::memory& memory) : data(floats(memory)), length(1) {
  const Desc desc = memory.get_desc();
  count = desc.data.dims[0];
  stride = picture_stride(desc);
  for (int d = 1; d < desc.data.ndims; ++d) length *= desc.data.padded_dims[d];
}

}  // namespace dtrain::nn
