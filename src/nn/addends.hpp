// The gradients of one result, one from each of its readers.
#pragma once

namespace dtrain::nn {

/// As many are added up by layers with kernels of their own while they read them; what is beyond, the graph adds beforehand.
inline constexpr int kMaxAddends = 4;

/// One plane of each.
template <typename Element>
struct Addends {
  Element* first;  ///< overwritten by the sum where it is kept
  const Element* more[kMaxAddends - 1];
  int more_count;
};

}  // namespace dtrain::nn
