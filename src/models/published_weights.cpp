// The table of torchvision's weights; see published_weights.hpp.
#include "dtrain/published_weights.hpp"

#include <algorithm>
#include <array>
#include <cctype>

namespace dtrain {
namespace {

/// What torchvision's presets for evaluation have but for the defaults of Preprocessing.
enum class Images {
  usual,        ///< resize 256, crop 224
  resize_232,   ///< the second recipe
  half,         ///< GoogLeNet, ported from TensorFlow: transform_input makes (x − 0.5)/0.5 of the usual normalisation
  half_299,     ///< Inception-v3, likewise: resize 342, crop 299
  vgg_features  ///< of SSD's authors: mean only
};

struct Entry {
  std::string_view model;
  std::string_view hash;  ///< the first 8 digits of the published file's SHA-256
  Images images = Images::usual;
};

// Source: torchvision 0.14, torchvision.models.*_Weights (url, transforms), and the names that its versions before 0.10 had
// (models of 2016 to 2019, saved again since).
constexpr std::array kPublished{
    Entry{"resnet18", "f37072fd"},
    Entry{"resnet18", "5c106cde"},
    Entry{"resnet34", "b627a593"},
    Entry{"resnet34", "333f7ec4"},
    Entry{"resnet50", "0676ba61"},
    Entry{"resnet50", "19c8e357"},
    Entry{"resnet50", "11ad3fa6", Images::resize_232},
    Entry{"resnet101", "63fe2227"},
    Entry{"resnet101", "5d3b4d8f"},
    Entry{"resnet101", "cd907fc2", Images::resize_232},
    Entry{"resnet152", "394f9c45"},
    Entry{"resnet152", "b121ed2d"},
    Entry{"resnet152", "f82ba261", Images::resize_232},
    Entry{"wide_resnet50_2", "95faca4d"},
    Entry{"wide_resnet50_2", "9ba9bcbe", Images::resize_232},
    Entry{"alexnet", "7be5be79"},
    Entry{"alexnet", "4df8aa71"},
    Entry{"vgg11", "8a719046"},
    Entry{"vgg11", "bbd30ac9"},
    Entry{"vgg13", "19584684"},
    Entry{"vgg13", "c768596a"},
    Entry{"vgg16", "397923af"},
    Entry{"vgg16", "88682ab5", Images::vgg_features},
    Entry{"vgg19", "dcbb9e9d"},
    Entry{"vgg11_bn", "6002323d"},
    Entry{"vgg13_bn", "abd245e5"},
    Entry{"vgg16_bn", "6c64b313"},
    Entry{"vgg19_bn", "c79401a0"},
    Entry{"googlenet", "1378be20", Images::half},
    Entry{"inception_v3", "0cc3c7bd", Images::half_299},
    Entry{"inception_v3", "1a9a5a14", Images::half_299},
    Entry{"densenet121", "a639ec97"},
    Entry{"densenet121", "241335ed"},
    Entry{"densenet161", "8d451a50"},
    Entry{"densenet161", "17b70270"},
    Entry{"densenet169", "b2777c0a"},
    Entry{"densenet169", "6f0f7f60"},
    Entry{"densenet201", "c1103571"},
    Entry{"densenet201", "4c113574"},
    Entry{"squeezenet1_0", "b66bff10"},
    Entry{"squeezenet1_0", "a815701f"},
    Entry{"squeezenet1_1", "b8a52dc0"},
    Entry{"squeezenet1_1", "f364aa15"},
    Entry{"mobilenet_v2", "b0353104"},
    Entry{"mobilenet_v2", "7ebf99e0", Images::resize_232},
};

Preprocessing preprocessing_of(Images images) {
  Preprocessing preprocessing;  // resize 256, crop 224, ImageNet's mean and deviation
  switch (images) {
    case Images::usual:
      break;
    case Images::resize_232:
      preprocessing.resize = 232;
      break;
    case Images::half_299:
      preprocessing.resize = 342;
      preprocessing.crop = 299;
      [[fallthrough]];
    case Images::half:
      preprocessing.mean = preprocessing.stddev = {0.5f, 0.5f, 0.5f};
      break;
    case Images::vgg_features:
      preprocessing.mean = {0.48235f, 0.45882f, 0.40784f};
      preprocessing.stddev = {1.0f / 255.0f, 1.0f / 255.0f, 1.0f / 255.0f};
      break;
  }
  return preprocessing;
}

/// Whether the name has the hash as a word of its own, or at the beginning of one of hexadecimal digits (the whole SHA-256).
bool has_hash(const std::string& name, std::string_view hash) {
  for (std::size_t at = name.find(hash); at != std::string::npos; at = name.find(hash, at + 1)) {
    const std::size_t end = at + hash.size();
    const auto is_word = [&](std::size_t i) { return std::isalnum(static_cast<unsigned char>(name[i])) != 0; };
    const bool begins = at == 0 || !is_word(at - 1);
    const bool ends = end == name.size() || !is_word(end) || std::isxdigit(static_cast<unsigned char>(name[end])) != 0;
    if (begins && ends) return true;
  }
  return false;
}

}  // namespace

std::optional<PublishedWeights> published_weights(const std::filesystem::path& file, std::string_view model) {
  std::string name = file.filename().string();
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char letter) { return std::tolower(letter); });
  for (const Entry& entry : kPublished) {
    if (entry.model != model || !has_hash(name, entry.hash)) continue;
    return PublishedWeights{.name = std::string(entry.model) + "-" + std::string(entry.hash),
                            .preprocessing = preprocessing_of(entry.images)};
  }
  return std::nullopt;
}

std::optional<Preprocessing> published_preprocessing(const std::filesystem::path& file, std::string_view model) {
  const std::optional<PublishedWeights> published = published_weights(file, model);
  return published ? std::optional(published->preprocessing) : std::nullopt;
}

std::string input_warning(const std::filesystem::path& file, std::string_view model, std::int64_t outputs) {
  if (outputs != 1000 || (model != "googlenet" && model != "inception_v3") || published_weights(file, model)) return {};
  return file.string() + " does not say what images it expects. Weights of " + std::string(model) +
         " that torchvision publishes expect (x - 0.5)/0.5 (its transform_input); where these are such, give --mean "
         "0.5,0.5,0.5 "
         "--std 0.5,0.5,0.5";
}

}  // namespace dtrain
