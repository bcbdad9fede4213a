// The list of networks by name, and the options that all of them share.
#include "dtrain/models.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "dtrain/error.hpp"
#include "src/models/families.hpp"

namespace dtrain {
namespace {

using Build = NetworkSpec (*)(const FamilyOptions&);

struct Model {
  ModelEntry entry;
  std::int64_t min_image_size = 1;  ///< below it the last stage sees a single pixel; layers may ask for more
  Build build = nullptr;
};

template <int depth>
Model imagenet_resnet() {
  const std::string name = "resnet" + std::to_string(depth);
  return {.entry = {.name = name,
                    .image_size = 224,
                    .channels = 3,
                    .num_classes = 1000,
                    .source = "He et al., CVPR 2016, version 1.5; torchvision.models." + name},
          .min_image_size = 32,
          .build = [](const FamilyOptions& options) { return build_resnet(depth, options); }};
}

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
      cifar_resnet<20>(),
      cifar_resnet<32>(),
      cifar_resnet<44>(),
      cifar_resnet<56>(),
      cifar_resnet<110>(),
      lenet5(),
  };
  return all;
}

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

const Model& find_model(std::string_view name) {
  const Model* nearest = nullptr;
  std::size_t nearest_distance = 0;
  std::string known;
  for (const Model& model : models()) {
    if (model.entry.name == name) return model;
    const std::size_t distance = edit_distance(name, model.entry.name);
    if (nearest == nullptr || distance < nearest_distance) nearest = &model, nearest_distance = distance;
    known += (known.empty() ? "" : ", ") + model.entry.name;
  }
  throw ConfigError(Fault{.doing = "looking up model \"" + std::string(name) + "\"",
                          .expected = "one of " + known,
                          .found = "",
                          .remedy = "--model " + nearest->entry.name});
}

void require_honourable(const Model& model, const ModelOptions& options) {
  const std::string doing = "building model " + model.entry.name;
  if (options.num_classes < 0) {
    throw ConfigError(Fault{.doing = doing,
                            .expected = "at least one class",
                            .found = std::to_string(options.num_classes),
                            .remedy = "--num-classes " + std::to_string(model.entry.num_classes)});
  }
  if (options.image_size != 0 && options.image_size < model.min_image_size) {
    const std::string least = std::to_string(model.min_image_size);
    throw ConfigError(Fault{.doing = doing,
                            .expected = "pictures of at least " + least + "×" + least,
                            .found = std::to_string(options.image_size),
                            .remedy = "--crop " + std::to_string(model.entry.image_size)});
  }
  if (options.dropout) {
    throw ConfigError(Fault{.doing = doing,
                            .expected = "no dropout probability, since the network has no dropout layer",
                            .found = std::to_string(*options.dropout),
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

NetworkSpec build_model(std::string_view name, const ModelOptions& options) {
  const Model& model = find_model(name);
  require_honourable(model, options);
  const std::int64_t side = options.image_size > 0 ? options.image_size : model.entry.image_size;
  return model.build({.head = {.name = model.entry.name,
                               .channels = model.entry.channels,
                               .height = side,
                               .width = side,
                               .num_classes = options.num_classes > 0 ? options.num_classes : model.entry.num_classes,
                               .nodes = {}},
                      .zero_init_last_norm = options.zero_init_last_norm});
}

}  // namespace dtrain
