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
  std::int64_t image_size = 0;       ///< square pictures; 0: the model's own (224, 299, 32, 28)
  bool zero_init_last_norm = false;  ///< γ = 0 in the last batch-norm of every residual block (Goyal et al. 2017)
  bool aux_heads = false;            ///< auxiliary classifiers, for training; ConfigError where the model has none
  std::optional<float> dropout{};    ///< probability of every dropout layer; ConfigError where the model has none
};

/// Bounds of any network, far above what is used, within which sizes can be multiplied.
inline constexpr std::int64_t kLargestSide = std::int64_t{1} << 16;        ///< of images, pixels
inline constexpr std::int64_t kMostClasses = (std::int64_t{1} << 31) - 1;  ///< labels are std::int32_t

struct ModelEntry {
  std::string name;
  std::int64_t image_size = 224;
  std::int64_t channels = 3;
  std::int64_t num_classes = 1000;
  std::string source;  ///< paper or torchvision's function
};

/// All models, in the order in which `dtrain models` lists them.
const std::vector<ModelEntry>& list_models();

/// The entry of a model, by its own name or by that of tf_cnn_benchmarks ("inception3"). Errors: ConfigError: unknown name.
const ModelEntry& model_entry(std::string_view name);

struct TensorFile;
/// Name of the one model whose tensors a file has, its head of any class count; empty where none or several fit.
std::string model_that_fits(const TensorFile& file);

/// Builds a network, which has the model's own name whichever was given.
/// Errors: ConfigError: unknown name (names the nearest), picture too small or beyond kLargestSide, more than kMostClasses,
/// dropout where there is none.
NetworkSpec build_model(std::string_view name, const ModelOptions& options);

}  // namespace dtrain
