// Published networks by name, with torchvision's architecture and tensor names.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/layers.hpp"

namespace dtrain {

struct ModelOptions {
  std::int64_t num_classes = 0;      ///< 0: the model's own (1000 or 10)
  std::int64_t image_size = 0;       ///< square pictures; 0: the model's own (224, 32, 28)
  bool zero_init_last_norm = false;  ///< γ = 0 in the last batch-norm of every residual block (Goyal et al. 2017)
  std::optional<float> dropout{};    ///< overrides the model's probability; ConfigError where it has no dropout
};

struct ModelEntry {
  std::string name;
  std::int64_t image_size = 224;
  std::int64_t channels = 3;
  std::int64_t num_classes = 1000;
  std::string source;  ///< paper or torchvision's function
};

/// All models, in the order in which `dtrain models` lists them.
const std::vector<ModelEntry>& list_models();

/// Builds a network. Errors: ConfigError: unknown name (names the nearest), picture too small.
NetworkSpec build_model(std::string_view name, const ModelOptions& options);

}  // namespace dtrain
