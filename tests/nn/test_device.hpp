// The engine that tests of single parts of the graph share.
#pragma once

#include "src/nn/onednn.hpp"

namespace dtrain::nn {

inline const Device& test_device() {
  static const Device device;
  return device;
}

}  // namespace dtrain::nn
