// Looking at files of weights; see weights_defaults.hpp.
#include "trainer/weights_defaults.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "dtrain/published_weights.hpp"
#include "trainer/class_matching.hpp"
#include "trainer/on_root.hpp"
#include "trainer/start.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

/// Rows of the head's weights, under whatever prefix; 0: it has none of that name.
std::int64_t outputs_of(const TensorFile& file, const std::string& model) {
  const std::vector<std::string> heads = head_tensor_names(build_model(model, {}));
  if (heads.empty()) return 0;
  for (const FileTensor& tensor : file.tensors) {
    const bool is_head = tensor.name == heads.front() || tensor.name.ends_with("." + heads.front());
    if (is_head && !tensor.shape.empty()) return tensor.shape.front();
  }
  return 0;
}

bool names_a_model(const std::string& name) {
  return std::ranges::any_of(list_models(), [&](const ModelEntry& model) { return model.name == name; });
}

std::string channels_text(const std::array<float, 3>& channels) {
  return shortest_text(channels[0]) + "," + shortest_text(channels[1]) + "," + shortest_text(channels[2]);
}

[[noreturn]] void refuse_members(const WeightsFacts& first, const WeightsFacts& other, const std::string& what,
                                 const std::string& one, const std::string& two) {
  throw DataError(Fault{.doing = "evaluating " + first.file + " and " + other.file + " together",
                        .expected = "the same " + what,
                        .found = one + " and " + two,
                        .remedy = "each file by itself"});
}

template <typename Config>
Config filled_in(Config config, const WeightsFacts& weights) {
  if (!weights.card.preprocessing) return config;
  const Preprocessing& known = *weights.card.preprocessing;
  // The resize belongs to the crop: with another crop, it is that crop's.
  const bool keeps_crop = config.crop == 0 || config.crop == known.crop;
  if (config.crop == 0) config.crop = known.crop;
  if (config.resize == 0 && keeps_crop) config.resize = known.resize;
  if (config.interpolation.empty()) config.interpolation = to_text(known.interpolation);
  if (config.mean.empty()) config.mean = channels_text(known.mean);
  if (config.stddev.empty()) config.stddev = channels_text(known.stddev);
  return config;
}

}  // namespace

WeightsFacts look_at_weights(const std::string& file, const std::string& model) {
  const TensorFile contents = read_tensor_header(file);
  WeightsFacts facts{.file = file, .card = card_of(contents), .outputs = outputs_of(contents, model), .preprocessing_from = {}};
  if (facts.card.preprocessing) {
    facts.preprocessing_from = file;
  } else if (const auto published = published_weights(file, model_entry(model).name)) {
    facts.card.preprocessing = published->preprocessing;
    facts.preprocessing_from = file + ", by its name " + published->name + " of torchvision";
  } else if (!contents.metadata.contains("dtrain.version")) {
    facts.input_warning = input_warning(file, model_entry(model).name, facts.outputs);
  }
  if (!facts.card.model.empty() && !names_a_model(facts.card.model)) {
    facts.card.unread.push_back("model is '" + visible_text(facts.card.model) + "', which dtrain does not have");
  }
  return facts;
}

WeightsFacts look_at_weights(const std::vector<std::string>& files, const std::string& model) {
  WeightsFacts all = look_at_weights(files.front(), model);
  for (std::size_t k = 1; k < files.size(); ++k) {
    const WeightsFacts other = look_at_weights(files[k], model);
    std::ranges::copy(other.card.unread, std::back_inserter(all.card.unread));
    // What a member does not say, another one says for it.
    if (all.card.class_names.empty()) all.card.class_names = other.card.class_names;
    if (!other.card.class_names.empty() && other.card.class_names != all.card.class_names) {
      refuse_members(all, other, "classes in the same order", class_list(all.card.class_names),
                     class_list(other.card.class_names));
    }
    if (!all.card.preprocessing) {
      all.card.preprocessing = other.card.preprocessing;
      all.preprocessing_from = other.preprocessing_from;
    }
    if (other.card.preprocessing && other.card.preprocessing != all.card.preprocessing) {
      refuse_members(all, other, "preparation of images", to_text(*all.card.preprocessing), to_text(*other.card.preprocessing));
    }
  }
  return all;
}

std::string model_of_weights(const std::vector<std::string>& files) {
  const TensorFile header = read_tensor_header(files.front());
  const std::string model = card_of(header).model;
  return names_a_model(model) ? model : model_that_fits(header);
}

TrainConfig with_weights(TrainConfig config, const WeightsFacts& weights) {
  config.weights_rate = weights.card.learning_rate.value_or(0.0);
  return filled_in(std::move(config), weights);
}

EvalConfig with_weights(EvalConfig config, const WeightsFacts& weights) {
  if (config.num_classes == 0) config.num_classes = weights.outputs;
  return filled_in(std::move(config), weights);
}

TrainConfig with_initial_weights(const TrainConfig& config, const Communicator& communicator) {
  if (config.init_from.empty()) return config;
  WeightsFacts facts;
  TrainConfig named = config;
  on_root(communicator, [&] {
    const std::string model = config.given.contains("model") ? "" : model_of_weights({config.init_from});
    if (!model.empty()) named.model = model;
    facts = look_at_weights(config.init_from, named.model);
  });
  named.model = communicator.broadcast_text(named.model);
  log_root(communicator, weights_line(facts));
  warn_of_unread(facts, communicator);
  return with_weights(named, share_facts(facts, communicator));
}

WeightsFacts share_facts(const WeightsFacts& facts, const Communicator& communicator) {
  TensorFile card{.tensors = {}, .metadata = {{"dtrain.version", ""}}};  // so that all of the card counts
  put_card(facts.card, card);
  std::string bytes;
  nlohmann::json::to_cbor({{"file", facts.file},
                           {"outputs", facts.outputs},
                           {"preprocessing_from", facts.preprocessing_from},
                           {"input_warning", facts.input_warning},
                           {"unread", facts.card.unread},
                           {"card", card.metadata}},
                          bytes);
  const nlohmann::json shared = nlohmann::json::from_cbor(communicator.broadcast_text(bytes));
  card.metadata = shared.at("card").get<std::map<std::string, std::string>>();
  WeightsCard shared_card = card_of(card);
  shared_card.unread = shared.at("unread").get<std::vector<std::string>>();
  return {.file = shared.at("file").get<std::string>(),
          .card = std::move(shared_card),
          .outputs = shared.at("outputs").get<std::int64_t>(),
          .preprocessing_from = shared.at("preprocessing_from").get<std::string>(),
          .input_warning = shared.at("input_warning").get<std::string>()};
}

std::string weights_line(const WeightsFacts& weights) {
  const std::vector<std::string>& names = weights.card.class_names;
  std::string text = "weights       " + weights.file + ": ";
  if (!weights.card.model.empty()) text += weights.card.model + ", ";
  text += weights.outputs > 0 ? counted(weights.outputs, "class", "classes") : "classes that its head does not tell";
  if (weights.outputs > 0) text += names.empty() ? " without names" : ": " + class_list(names);
  const std::optional<Preprocessing>& known = weights.card.preprocessing;
  return text + (known ? "; for images with " + to_text(*known) : "; it does not say how images are prepared");
}

void warn_of_unread(const WeightsFacts& weights, const Communicator& communicator) {
  if (!communicator.is_root()) return;
  for (const std::string& entry : weights.card.unread) {
    spdlog::warn("{}: an entry of its metadata does not count: {}", weights.file, entry);
  }
}

std::string preprocessing_line(const Preprocessing& preprocessing, const WeightsFacts& weights) {
  const bool is_as_said = weights.card.preprocessing && *weights.card.preprocessing == preprocessing;
  std::string from = ", as usual for ImageNet";
  if (is_as_said) from = ", as in " + weights.preprocessing_from;
  if (!is_as_said && weights.card.preprocessing)
    from = ", by the options; " + weights.file + " says " + to_text(*weights.card.preprocessing);
  return "preprocessing: " + to_text(preprocessing) + from;
}

}  // namespace dtrain
