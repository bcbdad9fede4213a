// The list of networks by name, and the options that all of them share.
#include "dtrain/models.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>
#include <utility>

#include "dtrain/error.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

using Build = NetworkSpec (*)(const FamilyOptions&);

struct Model {
  ModelEntry entry;
  std::int64_t min_image_size = 1;  ///< at least what its layers need
  Build build = nullptr;
  bool has_aux_heads = false;  ///< on request
};

/// A network for ImageNet with torchvision's name. paper: where it was published.
Model torchvision_model(const std::string& name, const std::string& paper, std::int64_t min_image_size, Build build) {
  return {.entry = {.name = name,
                    .image_size = 224,
                    .channels = 3,
                    .num_classes = 1000,
                    .source = paper + "; torchvision.models." + name},
          .min_image_size = min_image_size,
          .build = build};
}

template <int depth>
Model imagenet_resnet() {
  return torchvision_model("resnet" + std::to_string(depth), "He et al., CVPR 2016, version 1.5", 32,
                           [](const FamilyOptions& options) { return build_resnet(depth, options); });
}

Model wide_resnet50_2() {
  return torchvision_model("wide_resnet50_2", "Zagoruyko & Komodakis, BMVC 2016", 32, build_wide_resnet50_2);
}

Model alexnet() { return torchvision_model("alexnet", "Krizhevsky, arXiv 1404.5997 (2014)", 63, build_alexnet); }

template <int depth>
Model vgg() {
  return torchvision_model("vgg" + std::to_string(depth), "Simonyan & Zisserman, ICLR 2015", 32,
                           [](const FamilyOptions& options) { return build_vgg(depth, false, options); });
}

template <int depth>
Model vgg_bn() {
  return torchvision_model("vgg" + std::to_string(depth) + "_bn", "Simonyan & Zisserman, ICLR 2015, with batch-norm", 32,
                           [](const FamilyOptions& options) { return build_vgg(depth, true, options); });
}

Model googlenet() {
  Model model = torchvision_model("googlenet", "Szegedy et al., CVPR 2015, with batch-norm", 15, build_googlenet);
  model.has_aux_heads = true;
  return model;
}

Model inception_v3() {
  Model model = torchvision_model("inception_v3", "Szegedy et al., CVPR 2016", 75, build_inception_v3);
  model.entry.image_size = 299;
  model.has_aux_heads = true;
  return model;
}

template <int depth>
Model densenet() {
  return torchvision_model("densenet" + std::to_string(depth), "Huang et al., CVPR 2017", 29,
                           [](const FamilyOptions& options) { return build_densenet(depth, options); });
}

Model squeezenet1_0() {
  return torchvision_model("squeezenet1_0", "Iandola et al., arXiv 1602.07360 (2016)", 21,
                           [](const FamilyOptions& options) { return build_squeezenet(SqueezeNetVersion::v1_0, options); });
}

Model squeezenet1_1() {
  return torchvision_model("squeezenet1_1", "Iandola et al., arXiv 1602.07360 (2016), its authors' version 1.1", 17,
                           [](const FamilyOptions& options) { return build_squeezenet(SqueezeNetVersion::v1_1, options); });
}

Model mobilenet_v2() { return torchvision_model("mobilenet_v2", "Sandler et al., CVPR 2018", 32, build_mobilenet_v2); }

template <int depth>
Model cifar_resnet() {
  return {.entry = {.name = "resnet" + std::to_string(depth),
                    .image_size = 32,
                    .channels = 3,
                    .num_classes = 10,
                    .source = "He et al., CVPR 2016, §4.2 (CIFAR-10, option-A shortcuts)"},
          .min_image_size = 8,
          .build = [](const FamilyOptions& options) { return build_cifar_resnet(depth, options); }};
}

Model lenet5() {
  return {.entry = {.name = "lenet5",
                    .image_size = 28,
                    .channels = 1,
                    .num_classes = 10,
                    .source = "LeCun et al., Proc. IEEE 1998, with ReLU and max pooling"},
          .min_image_size = 1,
          .build = build_lenet5};
}

const std::vector<Model>& models() {
  static const std::vector<Model> all{
      imagenet_resnet<18>(),
      imagenet_resnet<34>(),
      imagenet_resnet<50>(),
      imagenet_resnet<101>(),
      imagenet_resnet<152>(),
      wide_resnet50_2(),
      alexnet(),
      vgg<11>(),
      vgg<13>(),
      vgg<16>(),
      vgg<19>(),
      vgg_bn<11>(),
      vgg_bn<13>(),
      vgg_bn<16>(),
      vgg_bn<19>(),
      googlenet(),
      inception_v3(),
      densenet<121>(),
      densenet<161>(),
      densenet<169>(),
      densenet<201>(),
      squeezenet1_0(),
      squeezenet1_1(),
      mobilenet_v2(),
      cifar_resnet<20>(),
      cifar_resnet<32>(),
      cifar_resnet<44>(),
      cifar_resnet<56>(),
      cifar_resnet<110>(),
      lenet5(),
  };
  return all;
}

struct Alias {
  std::string_view alias;
  std::string_view name;
};

/// Names of tf_cnn_benchmarks for the same architectures.
constexpr std::array kAliases{Alias{"inception3", "inception_v3"}, Alias{"mobilenet", "mobilenet_v2"},
                              Alias{"resnet50_v1.5", "resnet50"}, Alias{"resnet101_v1.5", "resnet101"},
                              Alias{"resnet152_v1.5", "resnet152"}};

/// Least number of inserted, removed or replaced characters that turns one word into the other (Levenshtein 1966).
std::size_t edit_distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t replaced = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replaced, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

/// The name of a model that is, or has an alias that is, nearest to `name`.
std::string_view nearest_name(std::string_view name) {
  std::string_view nearest;
  std::size_t least = std::numeric_limits<std::size_t>::max();
  const auto consider = [&](std::string_view candidate, std::string_view model) {
    const std::size_t distance = edit_distance(name, candidate);
    if (distance < least) least = distance, nearest = model;
  };
  for (const Model& model : models()) consider(model.entry.name, model.entry.name);
  for (const Alias& alias : kAliases) consider(alias.alias, alias.name);
  return nearest;
}

const Model& find_model(std::string_view name) {
  const auto alias = std::ranges::find(kAliases, name, &Alias::alias);
  const std::string_view real_name = alias == kAliases.end() ? name : alias->name;
  std::string known;
  for (const Model& model : models()) {
    if (model.entry.name == real_name) return model;
    known += (known.empty() ? "" : ", ") + model.entry.name;
  }
  throw ConfigError(Fault{.doing = "looking up model \"" + std::string(name) + "\"",
                          .expected = "one of " + known,
                          .found = "",
                          .remedy = "--model " + std::string(nearest_name(name))});
}

/// "googlenet or inception_v3".
std::string names_with_aux_heads() {
  std::string names;
  for (const Model& model : models()) {
    if (model.has_aux_heads) names += (names.empty() ? "" : " or ") + model.entry.name;
  }
  return names;
}

void require_honourable(const Model& model, const ModelOptions& options) {
  const std::string doing = "building model " + model.entry.name;
  if (options.num_classes < 0 || options.num_classes > kMostClasses) {
    throw ConfigError(Fault{.doing = doing,
                            .expected = "1 to " + std::to_string(kMostClasses) + " classes",
                            .found = std::to_string(options.num_classes),
                            .remedy = "--num-classes " + std::to_string(model.entry.num_classes)});
  }
  const bool is_too_large = options.image_size > kLargestSide;
  if (options.image_size != 0 && (options.image_size < model.min_image_size || is_too_large)) {
    const std::string bound = std::to_string(is_too_large ? kLargestSide : model.min_image_size);
    throw ConfigError(
        Fault{.doing = doing,
              .expected = "pictures of at " + std::string(is_too_large ? "most " : "least ") + bound + "×" + bound,
              .found = std::to_string(options.image_size),
              .remedy = "--crop " + std::to_string(model.entry.image_size)});
  }
  if (options.aux_heads && !model.has_aux_heads) {
    throw ConfigError(Fault{.doing = doing,
                            .expected = "no auxiliary heads, since the network has none",
                            .found = "--aux-heads on",
                            .remedy = "--aux-heads off, or --model " + names_with_aux_heads()});
  }
}

void set_dropout(NetworkSpec& network, float probability) {
  bool has_dropout = false;
  for (Node& node : network.nodes) {
    auto* const dropout = std::get_if<Dropout>(&node.layer);
    if (dropout == nullptr) continue;
    dropout->probability = probability;
    has_dropout = true;
  }
  if (!has_dropout) {
    throw ConfigError(Fault{.doing = "building model " + network.name,
                            .expected = "no dropout probability, since the network has no dropout layer",
                            .found = std::to_string(probability),
                            .remedy = "without --dropout"});
  }
}

}  // namespace

const std::vector<ModelEntry>& list_models() {
  static const std::vector<ModelEntry> entries = [] {
    std::vector<ModelEntry> list;
    for (const Model& model : models()) list.push_back(model.entry);
    return list;
  }();
  return entries;
}

const ModelEntry& model_entry(std::string_view name) { return find_model(name).entry; }

NetworkSpec build_model(std::string_view name, const ModelOptions& options) {
  const Model& model = find_model(name);
  require_honourable(model, options);
  const std::int64_t side = options.image_size > 0 ? options.image_size : model.entry.image_size;
  NetworkSpec network =
      model.build({.head = {.name = model.entry.name,
                            .channels = model.entry.channels,
                            .height = side,
                            .width = side,
                            .num_classes = options.num_classes > 0 ? options.num_classes : model.entry.num_classes,
                            .nodes = {}},
                   .zero_init_last_norm = options.zero_init_last_norm,
                   .aux_heads = options.aux_heads});
  if (options.dropout) set_dropout(network, *options.dropout);
  return network;
}

}  // namespace dtrain
