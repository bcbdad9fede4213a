// Checkpoints: weights, statistics, the optimizer's state and the position of a run in one file, and which of them to keep.
#include "dtrain/checkpoint.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <iterator>
#include <sstream>
#include <type_traits>
#include <utility>

#include "dtrain/error.hpp"
#include "dtrain/import_weights.hpp"
#include "src/checkpoint_directory.hpp"

namespace dtrain {
namespace {

constexpr std::string_view kOptimizerPrefix = "optimizer.";
constexpr std::string_view kAveragePrefix = "optimizer.weight_average.";
/// Of shape (ranks); a batch-norm's statistics have a dot in their names.
constexpr const char* kRankImages = "rank_statistics.images";

// Keys of the metadata. They begin with "dtrain.", so that a file that holds one is refused without its checksum.
constexpr const char* kStepKey = "dtrain.step";
constexpr const char* kEpochKey = "dtrain.epoch";
constexpr const char* kSamplesKey = "dtrain.samples_in_epoch";
constexpr const char* kSeedKey = "dtrain.seed";
constexpr const char* kBestKey = "dtrain.best_top1";
constexpr const char* kValidationKey = "dtrain.validation";  // missing: unknown
constexpr const char* kDamagedKey = "dtrain.damaged";        // missing: none
constexpr const char* kRecipeKey = "dtrain.recipe";
constexpr const char* kModelKey = "model";

template <typename Number>
std::string number_text(Number value) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

/// "3 17 99".
std::string list_text(const std::vector<std::int64_t>& numbers) {
  std::string text;
  for (const std::int64_t number : numbers) text += (text.empty() ? "" : " ") + number_text(number);
  return text;
}

void put_position(const TrainingPosition& position, std::map<std::string, std::string>& metadata) {
  metadata[kStepKey] = number_text(position.step);
  metadata[kEpochKey] = number_text(position.epoch);
  metadata[kSamplesKey] = number_text(position.samples_in_epoch);
  metadata[kSeedKey] = number_text(position.seed);
  metadata[kBestKey] = number_text(position.best_top1);  // the shortest text that reads back as the same number
  if (!position.validation.empty()) metadata[kValidationKey] = position.validation;
  if (!position.damaged.empty()) metadata[kDamagedKey] = list_text(position.damaged);
  metadata[kRecipeKey] = position.recipe;
}

/// Reads texts of the metadata; what is missing or malformed is a DataError that names the file.
class PositionReader {
 public:
  PositionReader(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata)
      : path_(path), metadata_(metadata) {}

  TrainingPosition read() const {
    TrainingPosition position;
    read_number(kStepKey, position.step);
    read_number(kEpochKey, position.epoch);
    read_number(kSamplesKey, position.samples_in_epoch);
    read_number(kSeedKey, position.seed);
    read_number(kBestKey, position.best_top1);
    if (metadata_.contains(kValidationKey)) position.validation = metadata_.at(kValidationKey);
    if (metadata_.contains(kDamagedKey)) position.damaged = read_list(kDamagedKey);
    position.recipe = text(kRecipeKey);
    (void)text(kModelKey);
    return position;
  }

 private:
  const std::string& text(const char* key) const {
    const auto entry = metadata_.find(key);
    if (entry == metadata_.end()) {
      throw DataError(Fault{.doing = "reading the position of a run from " + path_.string(),
                            .expected = std::string("metadata ") + key,
                            .found = "a file of weights without it",
                            .remedy = "--resume with a file below checkpoints/, or --init-from for weights alone"});
    }
    return entry->second;
  }

  std::vector<std::int64_t> read_list(const char* key) const {
    std::vector<std::int64_t> numbers;
    std::istringstream words(text(key));
    for (std::string word; words >> word;) read_number(key, word, numbers.emplace_back());
    return numbers;
  }

  template <typename Number>
  void read_number(const char* key, Number& number) const {
    read_number(key, text(key), number);
  }

  template <typename Number>
  void read_number(const char* key, const std::string& value, Number& number) const {
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size()) refuse(key, "a number", value);
    if (std::is_floating_point_v<Number> ? !std::isfinite(static_cast<double>(number)) : number < Number{}) {
      refuse(key, std::is_floating_point_v<Number> ? "a finite number" : "a number from 0", value);
    }
  }

  [[noreturn]] void refuse(const char* key, const std::string& expected, const std::string& value) const {
    constexpr std::size_t kMostQuoted = 40;
    throw DataError(Fault{.doing = "reading the position of a run from " + path_.string(),
                          .expected = expected + " under " + key,
                          .found = "\"" + value.substr(0, kMostQuoted) + (value.size() > kMostQuoted ? "…\"" : "\""),
                          .remedy = "an earlier checkpoint"});
  }

  const std::filesystem::path& path_;
  const std::map<std::string, std::string>& metadata_;
};

std::string state_tensor_name(const OptimizerState& state, const std::string& parameter) {
  return std::string(kOptimizerPrefix) + std::string(state.name) + "." + parameter;
}

/// A slot's part of a state.
std::span<float> values_of(const OptimizerState& state, const Slot& slot) {
  return state.values.subspan(static_cast<std::size_t>(slot.offset), static_cast<std::size_t>(slot.size));
}

void append_state(const ParameterStore& parameters, const std::vector<std::string>& names, const OptimizerState& state,
                  TensorFile& file) {
  for (const std::string& name : names) {
    const Slot& slot = *parameters.find(name);
    if (!slot.spec.is_trained()) continue;
    FileTensor tensor{.name = state_tensor_name(state, name), .shape = slot.spec.shape, .f32 = {}, .i64 = {}};
    tensor.f32.resize(static_cast<std::size_t>(element_count(slot.spec.shape)));
    copy_to_plain(slot.layout, values_of(state, slot), tensor.f32);
    file.tensors.push_back(std::move(tensor));
  }
}

/// The state of every trained slot, in the order of the slots. Errors: DataError: missing or of another shape.
std::vector<const FileTensor*> find_state(const std::filesystem::path& path, const TensorFile& file,
                                          const ParameterStore& parameters, const OptimizerState& state) {
  std::vector<const FileTensor*> tensors;
  for (const Slot& slot : parameters.trained_slots()) {
    const std::string name = state_tensor_name(state, slot.spec.name);
    const FileTensor* const tensor = file.find(name);
    if (tensor == nullptr || tensor->type != ElementType::f32 || tensor->shape != slot.spec.shape) {
      throw DataError(Fault{.doing = "restoring " + name + " from " + path.string(),
                            .expected = "shape " + to_text(slot.spec.shape),
                            .found = tensor == nullptr ? "no such tensor" : "shape " + to_text(tensor->shape),
                            .remedy = "the options of the saved run, or --init-from to take over the weights alone"});
    }
    tensors.push_back(tensor);
  }
  return tensors;
}

/// The part of a slot in one rank's row.
template <typename Value>
std::span<Value> row_of(std::span<Value> values, std::size_t rank, std::int64_t row_size, const Slot& slot) {
  return values.subspan(rank * static_cast<std::size_t>(row_size) + static_cast<std::size_t>(slot.offset),
                        static_cast<std::size_t>(slot.size));
}

void append_rank_statistics(const ParameterStore& parameters, const RankStatistics& statistics, TensorFile& file) {
  if (statistics.images.empty()) return;
  const std::size_t ranks = statistics.images.size();
  const std::int64_t row_size = std::ssize(parameters.statistics());
  check(std::ssize(statistics.values) == std::ssize(statistics.images) * row_size, "every rank gave its statistics");
  file.tensors.push_back({.name = kRankImages,
                          .shape = {std::ssize(statistics.images)},
                          .type = ElementType::i64,
                          .f32 = {},
                          .i64 = statistics.images});
  for (const Slot& slot : parameters.statistics_slots()) {
    const auto channels = static_cast<std::size_t>(element_count(slot.spec.shape));
    FileTensor tensor{.name = std::string(kRankStatisticsPrefix) + slot.spec.name,
                      .shape = {std::ssize(statistics.images), element_count(slot.spec.shape)},
                      .f32 = std::vector<float>(ranks * channels),
                      .i64 = {}};
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      copy_to_plain(slot.layout, row_of(std::span(statistics.values), rank, row_size, slot),
                    std::span(tensor.f32).subspan(rank * channels, channels));
    }
    file.tensors.push_back(std::move(tensor));
  }
}

/// Empty where a file has none. Errors: DataError: incomplete, or of another network.
RankStatistics find_rank_statistics(const std::filesystem::path& path, const TensorFile& file,
                                    const ParameterStore& parameters) {
  const FileTensor* const images = file.find(kRankImages);
  if (images == nullptr) return {};
  const bool are_counts = images->type == ElementType::i64 && images->shape.size() == 1 && !images->i64.empty() &&
                          std::ranges::all_of(images->i64, [](std::int64_t count) { return count >= 0; });
  if (!are_counts) {
    throw DataError(Fault{.doing = "restoring " + std::string(kRankImages) + " from " + path.string(),
                          .expected = "a number of images from 0 for each rank",
                          .found = "something else, of shape " + to_text(images->shape),
                          .remedy = "an earlier checkpoint"});
  }
  const std::size_t ranks = images->i64.size();
  const std::int64_t row_size = std::ssize(parameters.statistics());
  RankStatistics statistics{.images = images->i64, .values = std::vector<float>(ranks * static_cast<std::size_t>(row_size))};
  for (const Slot& slot : parameters.statistics_slots()) {
    const std::string name = std::string(kRankStatisticsPrefix) + slot.spec.name;
    const FileTensor* const tensor = file.find(name);
    const Shape shape{std::ssize(images->i64), element_count(slot.spec.shape)};
    if (tensor == nullptr || tensor->type != ElementType::f32 || tensor->shape != shape) {
      throw DataError(Fault{.doing = "restoring " + name + " from " + path.string(),
                            .expected = "shape " + to_text(shape),
                            .found = tensor == nullptr ? "no such tensor" : "shape " + to_text(tensor->shape),
                            .remedy = "an earlier checkpoint"});
    }
    const auto channels = static_cast<std::size_t>(element_count(slot.spec.shape));
    for (std::size_t rank = 0; rank < ranks; ++rank) {
      copy_from_plain(slot.layout, std::span(tensor->f32).subspan(rank * channels, channels),
                      row_of(std::span(statistics.values), rank, row_size, slot));
    }
  }
  return statistics;
}

/// Puts the averages of weights, which are among the states, in the place of the weights.
void take_averages(const OptimizerState& average, const TensorFile& states, TensorFile& file) {
  for (FileTensor& tensor : file.tensors) {
    if (const FileTensor* const found = states.find(state_tensor_name(average, tensor.name))) tensor.f32 = found->f32;
  }
}

/// Whether a file of weights has a checkpoint's, or what that has in their place under the prefix. Errors: DataError: it cannot
/// be read.
bool has_weights_of(const std::filesystem::path& path, const TensorFile& checkpoint, std::string_view prefix) {
  const TensorFile weights = read_tensor_file(path);
  return !weights.tensors.empty() && std::ranges::all_of(weights.tensors, [&](const FileTensor& tensor) {
    const FileTensor* saved = checkpoint.find(std::string(prefix) + tensor.name);
    if (saved == nullptr) saved = checkpoint.find(tensor.name);  // statistics have no average
    return saved != nullptr && saved->shape == tensor.shape && saved->f32 == tensor.f32 && saved->i64 == tensor.i64;
  });
}

}  // namespace

bool is_training_state(std::string_view tensor_name) {
  return tensor_name.starts_with(kOptimizerPrefix) || tensor_name.starts_with(kRankStatisticsPrefix);
}

std::vector<std::string> save_checkpoint(const CheckpointPaths& paths, const ParameterStore& parameters,
                                         const std::vector<std::string>& names, const Optimizer& optimizer,
                                         const TrainingPosition& position, const CheckpointsToKeep& keep) {
  check(keep.newest >= 1, "a run keeps at least its newest checkpoint");
  make_directory(paths.checkpoints());
  TensorFile file = export_weights(parameters, names, position.card);
  const auto weight_tensors = static_cast<std::ptrdiff_t>(file.tensors.size());
  const std::map<std::string, std::string> weight_metadata = file.metadata;

  for (const OptimizerState& state : optimizer.states()) append_state(parameters, names, state, file);
  append_rank_statistics(parameters, position.rank_statistics, file);
  put_position(position, file.metadata);
  write_tensor_file(paths.checkpoint(position.step), file);
  // Before the weights: whoever finds those of this step knows that there is nothing left to do (is_saved_whole).
  std::vector<std::string> complaints = prune_checkpoints(paths, position.step, keep);
  const auto behind = file.tensors.begin() + weight_tensors;
  TensorFile states{.tensors = {std::move_iterator(behind), std::move_iterator(file.tensors.end())}, .metadata = {}};
  file.tensors.erase(behind, file.tensors.end());
  file.metadata = weight_metadata;
  write_tensor_file(paths.last(), file);
  if (!optimizer.weight_average().empty()) {
    take_averages(optimizer.states().back(), states, file);
    write_tensor_file(paths.average(), file);
  }
  return complaints;
}

bool is_saved_whole(const CheckpointPaths& paths, std::int64_t step, bool has_average) {
  try {
    const TensorFile checkpoint = read_tensor_file(paths.checkpoint(step));
    return has_weights_of(paths.last(), checkpoint, "") &&
           (!has_average || has_weights_of(paths.average(), checkpoint, kAveragePrefix));
  } catch (const DataError&) {
    return false;
  }
}

std::filesystem::path find_newest_checkpoint(const CheckpointPaths& paths, std::vector<std::string>& skipped) {
  for (const StoredCheckpoint& checkpoint : list_checkpoints(paths)) {
    try {
      const TensorFile file = read_tensor_file(checkpoint.path);
      (void)PositionReader(checkpoint.path, file.metadata).read();
      return checkpoint.path;
    } catch (const DataError& error) {
      skipped.push_back(checkpoint.path.string() + ": " + error.what());
    }
  }
  return {};
}

TrainingPosition restore_checkpoint(const std::filesystem::path& path, ParameterStore& parameters, Optimizer& optimizer,
                                    const std::string& model) {
  return restore_checkpoint(path, read_tensor_file(path), parameters, optimizer, model);
}

TrainingPosition position_of(const std::filesystem::path& path, const TensorFile& file, const std::string& model) {
  TrainingPosition position = PositionReader(path, file.metadata).read();
  position.card = card_of(file);
  if (position.card.model != model) {
    throw DataError(Fault{.doing = "resuming from " + path.string(),
                          .expected = "a checkpoint of model " + model,
                          .found = "one of model " + position.card.model,
                          .remedy = "--model " + position.card.model + ", or another --out"});
  }
  return position;
}

TrainingPosition restore_checkpoint(const std::filesystem::path& path, const TensorFile& file, ParameterStore& parameters,
                                    Optimizer& optimizer, const std::string& model) {
  TrainingPosition position = position_of(path, file, model);
  std::vector<std::vector<const FileTensor*>> tensors;  // all are found before anything is overwritten
  for (const OptimizerState& state : optimizer.states()) tensors.push_back(find_state(path, file, parameters, state));
  position.rank_statistics = find_rank_statistics(path, file, parameters);
  import_weights(file, parameters, {.mode = ImportMode::exact, .model = model});
  for (std::size_t s = 0; s < tensors.size(); ++s) {
    for (std::size_t i = 0; i < tensors[s].size(); ++i) {
      const Slot& slot = parameters.trained_slots()[i];
      copy_from_plain(slot.layout, tensors[s][i]->f32, values_of(optimizer.states()[s], slot));
    }
  }
  return position;
}

}  // namespace dtrain
