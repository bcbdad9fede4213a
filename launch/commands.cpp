// init, models, make-demo and inspect.
#include "launch/commands.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "dtrain/checkpoint.hpp"
#include "dtrain/demo.hpp"
#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "trainer/class_matching.hpp"
#include "trainer/output_files.hpp"
#include "trainer/text_table.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

std::string fixed(double value, int digits) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.*f", digits, value);
  return buffer.data();
}

std::string billions(std::int64_t value) { return fixed(static_cast<double>(value) / 1e9, 3); }

std::string megabytes_text(std::int64_t bytes) { return fixed(static_cast<double>(bytes) / 1e6, 1); }

std::string short_number(double value) {
  std::array<char, 64> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%.4g", value);
  return buffer.data();
}

/// 25557032 → "25,557,032".
std::string grouped(std::int64_t value) {
  std::string text = std::to_string(value);
  for (std::ptrdiff_t at = std::ssize(text) - 3; at > 0; at -= 3) text.insert(static_cast<std::size_t>(at), ",");
  return text;
}

std::int64_t trained_elements(const NetworkSpec& network) {
  std::int64_t count = 0;
  for (const auto& node : parameters_by_node(network)) {
    for (const ParameterSpec& spec : node) count += spec.is_trained() ? element_count(spec.shape) : 0;
  }
  return count;
}

ParameterStore plain_store(const NetworkSpec& network) {
  std::vector<ParameterStore::Entry> entries;
  for (const auto& node : parameters_by_node(network)) {
    for (const ParameterSpec& spec : node) entries.push_back({.spec = spec, .layout = plain_layout(spec.shape)});
  }
  return ParameterStore(std::move(entries));
}

/// Smallest, largest and mean element; and how many are not finite, which a damaged run shows first.
struct ValueRange {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  double sum = 0.0;
  std::int64_t finite = 0;
  std::int64_t not_finite = 0;
};

template <typename Element>
ValueRange value_range(const std::vector<Element>& values) {
  ValueRange range;
  for (const Element element : values) {
    const auto value = static_cast<double>(element);
    if (!std::isfinite(value)) {
      ++range.not_finite;
      continue;
    }
    range.low = std::min(range.low, value);
    range.high = std::max(range.high, value);
    range.sum += value;
    ++range.finite;
  }
  return range;
}

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char letter) { return std::tolower(letter); });
  return text;
}

std::vector<std::string> tensor_row(const FileTensor& tensor) {
  const ValueRange range = tensor.type == ElementType::f32 ? value_range(tensor.f32) : value_range(tensor.i64);
  const bool has_values = range.finite > 0;
  return {tensor.name,
          to_text(tensor.shape),
          lower_case(tensor.stored_type),
          has_values ? short_number(range.low) : "-",
          has_values ? short_number(range.high) : "-",
          has_values ? short_number(range.sum / static_cast<double>(range.finite)) : "-",
          range.not_finite > 0 ? std::to_string(range.not_finite) + " NOT FINITE" : ""};
}

/// A line of its own for each line of the value, if it has several.
std::string metadata_text(const std::string& key, const std::string& value) {
  std::string text = "  " + visible_text(key) + ":";
  if (value.find('\n') == std::string::npos) return text + " " + visible_text(value) + "\n";
  std::istringstream lines(value);
  for (std::string line; std::getline(lines, line);) text += "\n    " + visible_text(line);
  return text + "\n";
}

}  // namespace

std::string write_fresh_weights(const InitConfig& config) {
  require_sound_outputs({{.option = "--out", .path = config.out, .is_replaced = true, .is_new = true}}, {});
  const NetworkSpec network = build_model(
      config.model,
      {.num_classes = config.num_classes, .zero_init_last_norm = config.zero_init_gamma, .aux_heads = config.aux_heads});
  ParameterStore parameters = plain_store(network);
  initialize(network, config.seed, parameters);
  write_tensor_file(config.out, export_weights(parameters, tensor_names(network), {.model = network.name}));
  return "wrote " + visible_text(config.out) + ": " + network.name + ", " + counted(network.num_classes, "class", "classes") +
         ", " + grouped(parameters.parameter_count()) + " parameters, seed " + std::to_string(config.seed) + "\n";
}

std::string models_text(const ModelsConfig& config) {
  nlohmann::ordered_json json = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows{
      {"model", "parameters", "GFLOP", "a step", "pictures", "MB f32", "MB bf16", "classes", "source"}};
  for (const ModelEntry& model : list_models()) {
    if (!config.name.empty() && model.name != config.name) continue;
    const NetworkSpec network = build_model(model.name, {});
    const std::int64_t parameters = trained_elements(network);
    const std::int64_t forward = forward_flops(network);
    const std::int64_t training = training_flops(network);
    const std::int64_t activations = activation_elements(network);
    json.push_back({{"name", model.name},
                    {"parameters", parameters},
                    {"forward_flops_per_image", forward},
                    {"training_flops_per_image", training},
                    {"activation_bytes_per_image_f32", 4 * activations},
                    {"activation_bytes_per_image_bf16", 2 * activations},
                    {"image_size", model.image_size},
                    {"channels", model.channels},
                    {"num_classes", model.num_classes},
                    {"source", model.source}});
    const std::string side = std::to_string(model.image_size);
    rows.push_back({model.name, grouped(parameters), billions(forward), billions(training),
                    std::to_string(model.channels) + "x" + side + "x" + side, megabytes_text(4 * activations),
                    megabytes_text(2 * activations), std::to_string(model.num_classes), model.source});
  }
  if (config.json) return json.dump(2) + "\n";
  const std::string name = config.name.empty() ? "NAME" : config.name;
  return table_text(rows) +
         "GFLOP: forward pass of one picture, 2 per multiply-add; a step: forward, and backward to weights and inputs.\n"
         "MB: results of a forward pass of one picture that are not made in place; `--plan " +
         name + "` counts what a rank needs.\n";
}

std::string plan_text(const ModelsConfig& config, const RankMemory& memory, std::size_t share_bytes) {
  if (config.json) {
    nlohmann::ordered_json json{{"model", config.plan}, {"local_batch", config.local_batch}};
    for (const RankMemory::Line& line : memory.lines()) json[line.key] = line.bytes;
    json["scratch_bytes"] = memory.scratch_bytes;
    json["planned_bytes"] = memory.total_bytes();
    json["memory_share_bytes"] = share_bytes;
    return json.dump(2) + "\n";
  }
  std::vector<std::vector<std::string>> rows{{"memory of a rank", "MB"}};
  const auto add = [&](const std::string& text, std::size_t bytes) {
    rows.push_back({text, megabytes_text(static_cast<std::int64_t>(bytes))});
  };
  for (const RankMemory::Line& line : memory.lines()) {
    add(line.text, line.bytes);
    if (line.bytes == memory.activations_bytes) add("  of them scratch", memory.scratch_bytes);
  }
  add("total", memory.total_bytes());
  if (share_bytes > 0) add("free for a rank here", share_bytes + memory.resident_bytes);
  return table_text(rows);
}

std::string render_demo(const MakeDemoConfig& config) {
  if (config.force) remove_demo(config.directory);
  make_demo(config.directory, config.options);
  return "wrote " + visible_text(config.directory) + ": ten classes of " + std::to_string(config.options.train_per_class) +
         " training and " + counted(config.options.val_per_class, "validation picture") + "\n";
}

std::string inspect_text(const InspectConfig& config) {
  const TensorFile file = read_tensor_file(config.file);
  std::string text = visible_text(config.file) + "\n";
  // Reading has verified the checksum of every file that carries dtrain's mark.
  text += file.metadata.contains("dtrain.version") ? "  checksum: right (written by dtrain)\n"
                                                   : "  checksum: none (written by another program)\n";
  const std::vector<std::string> classes = card_of(file).class_names;
  if (const std::string model = model_that_fits(file); !model.empty()) text += "  tensors: those of model " + model + "\n";
  for (const auto& [key, value] : file.metadata) {
    const bool is_list = key == "class_names" && !classes.empty();
    text += metadata_text(key, is_list ? std::to_string(classes.size()) + ": " + class_list(classes) : value);
  }
  std::vector<std::vector<std::string>> rows{{"tensor", "shape", "type", "min", "max", "mean", ""}};
  std::int64_t elements = 0;
  for (const FileTensor& tensor : file.tensors) {
    rows.push_back(tensor_row(tensor));
    elements += element_count(tensor.shape);
  }
  return text + table_text(rows) + counted(std::ssize(file.tensors), "tensor") + ", " + grouped(elements) + " elements\n";
}

}  // namespace dtrain
