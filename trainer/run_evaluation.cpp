// The command `eval`: weights from a file, or from several that make an ensemble; exact accuracy over all ranks.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "schedules/shards.hpp"
#include "trainer/class_indices.hpp"
#include "trainer/class_matching.hpp"
#include "trainer/datasets.hpp"
#include "trainer/ensemble.hpp"
#include "trainer/ensemble_report.hpp"
#include "trainer/local_batch.hpp"
#include "trainer/logits_file.hpp"
#include "trainer/on_root.hpp"
#include "trainer/output_files.hpp"
#include "trainer/report.hpp"
#include "trainer/run.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/same_images.hpp"
#include "trainer/start.hpp"
#include "trainer/text_file.hpp"
#include "trainer/text_table.hpp"
#include "trainer/visible_text.hpp"
#include "trainer/weights_defaults.hpp"

namespace dtrain {
namespace {

using Json = nlohmann::ordered_json;

std::vector<NamedFile> outputs_of(const EvalConfig& config) {
  return {{.option = "--report", .path = config.report, .mark = output_mark::report},
          {.option = "--logits", .path = config.logits, .is_replaced = true, .mark = output_mark::logits},
          {.option = "--confusion", .path = config.confusion, .mark = output_mark::confusion}};
}

std::vector<NamedFile> inputs_of(const EvalConfig& config) {
  std::vector<NamedFile> inputs{{.option = "--class-indices", .path = config.class_indices}};
  for (const std::string& file : parse_list(config.weights)) inputs.push_back({.option = "--weights", .path = file});
  return inputs;
}

std::string listed(const std::vector<std::int32_t>& indices) {
  std::string text;
  for (const std::int32_t index : indices) text += (text.empty() ? "" : ", ") + std::to_string(index);
  return text;
}

/// A line for one file; for several, one for each, one for all together, and how much they agree.
void print_result(const EvalConfig& config, const std::vector<std::string>& files, const EnsembleResult& result) {
  const EvaluationResult& whole = result.ensemble;
  const std::string of = result.agreement ? "  of the ensemble" : "";
  std::fputs(members_text(files, result).c_str(), stdout);
  std::printf("%s%s  on %s of %s%s  (%.1f images/s)\n", scores_text(whole).c_str(), of.c_str(),
              counted(whole.sums.samples, "picture").c_str(), visible_text(config.data).c_str(),
              left_out_text(whole.left_out).c_str(), static_cast<double>(whole.sums.samples) / whole.seconds);
  std::fputs(agreement_text(result).c_str(), stdout);
}

using ClassAccuracies = std::vector<std::pair<std::string, ClassAccuracy>>;

double top1_of(const ClassAccuracy& accuracy) {
  return static_cast<double>(accuracy.top1) / static_cast<double>(accuracy.samples);
}

void print_classes(const ClassAccuracies& per_class) {
  const bool misses_some = std::ranges::any_of(per_class, [](const auto& one) { return one.second.left_out > 0; });
  std::vector<std::vector<std::string>> rows{{"class", "pictures", "top-1"}};
  if (misses_some) rows.front().push_back("unreadable");
  for (const auto& [name, accuracy] : per_class) {
    char percent[32] = "-";
    if (accuracy.samples > 0) std::snprintf(percent, sizeof percent, "%.2f %%", 100.0 * top1_of(accuracy));
    rows.push_back({name, std::to_string(accuracy.samples), percent});
    if (misses_some) rows.back().push_back(std::to_string(accuracy.left_out));
  }
  std::fputs(table_text(rows).c_str(), stdout);
}

/// What a rank takes for the largest of the files, while it is read.
std::size_t largest_bytes(const std::vector<std::string>& files) {
  std::size_t largest = 0;
  for (const std::string& path : files) {
    std::error_code fault;
    const auto bytes = std::filesystem::file_size(path, fault);
    if (fault) read_tensor_file(path);  // which says what is wrong with it
    if (!fault) largest = std::max<std::size_t>(largest, bytes);
  }
  return largest;
}

void write_result(const std::string& path, const EvalConfig& config, const std::vector<std::string>& files,
                  const EnsembleResult& result, const Preprocessing& preprocessing, const ClassAccuracies& per_class) {
  const EvaluationResult& whole = result.ensemble;
  Json json{{"model", model_entry(config.model).name},
            {"weights", config.weights},
            {"data", config.data},
            {"class_indices", config.class_indices},
            {"preprocessing", preprocessing_json(preprocessing)},
            {"top1", whole.top1()},
            {"top5", top5_json(whole)},
            {"loss", whole.loss()},
            {"samples", whole.sums.samples},
            {"damaged", damage_json(whole.left_out)},
            {"seconds", whole.seconds}};
  put_ensemble(json, files, result);
  for (const auto& [name, accuracy] : per_class) {
    json["per_class"].push_back({{"class", name},
                                 {"samples", accuracy.samples},
                                 {"damaged", accuracy.left_out},
                                 {"top1", accuracy.samples > 0 ? Json(top1_of(accuracy)) : Json()}});
  }
  write_text_file(path, "--report",
                  json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");  // paths need not be UTF-8
}

/// The configuration with what the files say where it leaves something open. The root reads them. Collective.
EvalConfig completed(const EvalConfig& asked, const std::vector<std::string>& files, const Communicator& communicator,
                     WeightsFacts& weights) {
  EvalConfig config = asked;
  on_root(communicator, [&] {
    const std::string model = config.given.contains("model") ? "" : model_of_weights(files);
    if (!model.empty()) config.model = model;
    weights = look_at_weights(files, config.model);
  });
  config.model = communicator.broadcast_text(config.model);
  config.given.insert("model");
  weights = share_facts(weights, communicator);
  return with_weights(config, weights);
}

/// The network's class for each folder, by whatever says so; the root tells people.
std::vector<std::int32_t> match_folders(const EvalConfig& config, const Dataset& dataset, const NetworkSpec& network,
                                        const WeightsFacts& weights, const Communicator& communicator) {
  log_root(communicator, preprocessing_line(preprocessing_of(evaluation_transform(network, config)), weights));
  warn_of_unread(weights, communicator);
  if (config.mean.empty() && !weights.input_warning.empty() && communicator.is_root())
    spdlog::warn("{}", weights.input_warning);
  if (!config.class_indices.empty()) {
    log_root(communicator, "classes: by " + config.class_indices);
    return read_class_indices(config.class_indices, dataset.class_names(), network.num_classes);
  }
  if (config.data == "synthetic") return {};
  const ClassMatch match = match_classes({.folders = dataset.class_names(),
                                          .names = weights.card.class_names,
                                          .outputs = network.num_classes,
                                          .file = weights.file});
  if (communicator.is_root()) match.is_assumed ? spdlog::warn("{}", match.text) : spdlog::info("{}", match.text);
  return match.indices;
}

}  // namespace

int run_evaluation(const EvalConfig& asked, Communicator& communicator, const RunEnvironment& environment) {
  require_valid(validate(asked, communicator.size()));
  if (communicator.is_root()) require_sound_outputs(outputs_of(asked), inputs_of(asked));
  const std::size_t at_start_bytes = resident_bytes();
  const std::vector<std::string> files = parse_list(asked.weights);
  WeightsFacts weights;
  const EvalConfig config = completed(asked, files, communicator, weights);
  require_valid(validate(config, communicator.size()));
  const ModelEntry& model = model_entry(config.model);
  const std::int64_t crop = config.crop > 0 ? config.crop : model.image_size;
  const EvaluationData data =
      open_evaluation_data({.train = config.data,
                            .validation = {},
                            .synthetic_size = config.synthetic_size,
                            .synthetic_classes = config.num_classes > 0 ? config.num_classes : model.num_classes,
                            .picture_size = crop});
  const Dataset* const dataset = data.images.get();
  require_same_images("evaluation", dataset, data.summary.validation.folder, communicator);
  if (communicator.is_root()) log_data(data.summary, {}, config.data == "synthetic" ? nullptr : dataset);
  std::size_t file_bytes = 0;
  on_root(communicator, [&] { file_bytes = largest_bytes(files); });
  file_bytes = communicator.broadcast_value(file_bytes);
  const NetworkSpec network = network_for(config.model, {.num_classes = config.num_classes}, crop, 0);
  const std::vector<std::int32_t> class_indices = match_folders(config, *dataset, network, weights, communicator);
  const bool counts_classes = config.per_class || !config.confusion.empty();
  communicator.require_equal(
      {{"precision", to_text(parse_precision(config.precision))}, {"class indices", listed(class_indices)}});

  const std::int64_t global_batch =
      config.global_batch > 0 ? config.global_batch : 32 * static_cast<std::int64_t>(communicator.size());
  CompileOptions compile{.training = false,
                         .precision = parse_precision(config.precision),
                         .conv_algorithm = config.conv == "direct" ? ConvAlgorithm::direct : ConvAlgorithm::automatic};
  const std::int64_t own_samples = split_range({0, dataset->size()}, communicator.size(), communicator.rank()).size();
  RankWork work{.resident_bytes = resident_bytes() + file_bytes +
                                  ensemble_bytes(dataset->size(), network.num_classes, files.size(), communicator.size()) +
                                  (config.logits.empty() ? 0 : LogitsFile::bytes(own_samples, network.num_classes))};
  compile.batch = work.evaluation_batch = choose_local_batch(
      {.asked = config.local_batch,
       .usual = default_local_batch(global_batch, communicator.size()),
       .available_bytes = environment.memory_share_bytes > 0 ? environment.memory_share_bytes + at_start_bytes : 0,
       .memory =
           [&](std::int64_t batch) {
             work.evaluation_batch = batch;
             return plan_memory(network, compile, work);
           }},
      communicator);
  Replica replica(network, compile, communicator);
  replica.compile(work);
  std::optional<LogitsFile> logits;
  EvaluationOptions options{.transform = evaluation_transform(network, config),
                            .workers = loader_workers(config.workers, environment.placement),
                            .max_damaged = config.max_damaged,
                            .patience = {.data_timeout_s = config.data_timeout_s},
                            .class_indices = class_indices};
  if (!config.logits.empty()) {
    logits.emplace(own_samples, network.num_classes);
    options.on_batch = [&](const EvaluatedBatch& batch) { logits->add(batch); };
  }
  const EnsembleResult result = evaluate_ensemble(replica, files, *dataset, options, communicator, environment.placement);
  warn_of_left_out(result.ensemble.left_out, "evaluated", communicator);
  if (logits) {
    const DamagedImages& left_out = result.ensemble.left_out;
    const std::int64_t rows = result.ensemble.sums.samples;
    logits->write(config.logits, network.name, left_out, rows, communicator);
    log_root(communicator, "logits: " + std::to_string(rows) + " rows in " + config.logits + left_out_text(left_out) +
                               "; tensor \"samples\" has the number of each row's image in the data set");
  }
  std::vector<Prediction> predictions;
  if (counts_classes) predictions = gather_predictions(result.predictions, communicator);
  if (!communicator.is_root()) return 0;

  const std::vector<std::string>& folders = dataset->class_names();
  ClassAccuracies per_class;
  if (config.per_class) {
    auto accuracies = accuracy_by_class(predictions, folders.size(), class_indices);
    for (const std::int64_t sample : result.ensemble.left_out.samples) {
      ++accuracies[static_cast<std::size_t>(dataset->label(sample))].left_out;
    }
    for (std::size_t k = 0; k < folders.size(); ++k) per_class.emplace_back(folders[k], accuracies[k]);
    print_classes(per_class);
  }
  if (!config.confusion.empty()) {
    std::ostringstream table;
    write_confusion(table, predictions, folders,
                    names_of_outputs(folders, class_indices, network.num_classes, weights.card.class_names));
    write_text_file(config.confusion, "--confusion", table.str());
  }
  if (!config.report.empty())
    write_result(config.report, config, files, result, preprocessing_of(options.transform), per_class);
  print_result(config, files, result);
  return 0;
}

}  // namespace dtrain
