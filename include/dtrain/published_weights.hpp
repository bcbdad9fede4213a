// How images are prepared for the weights that torchvision publishes. Their files are named after the hash of what is published
// (resnet50-11ad3fa6.pth); a converted file has another hash, but as a rule still the name.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "dtrain/preprocessing.hpp"

namespace dtrain {

struct PublishedWeights {
  std::string name;  ///< "resnet50-11ad3fa6"
  Preprocessing preprocessing;
};

/// The published weights of `model` whose hash is in the file's name, such as "resnet50-11ad3fa6.safetensors"; none where the
/// name has no hash that is known for this model.
std::optional<PublishedWeights> published_weights(const std::filesystem::path& file, std::string_view model);

/// The same without the name.
std::optional<Preprocessing> published_preprocessing(const std::filesystem::path& file, std::string_view model);

/// A warning for weights of ImageNet's classes that do not say where they come from, of a model whose published weights expect
/// other images than is usual: googlenet and inception_v3. Empty for all others.
std::string input_warning(const std::filesystem::path& file, std::string_view model, std::int64_t outputs);

}  // namespace dtrain
