// The command `eval`: weights from a file, exact accuracy over all ranks.
#include <spdlog/spdlog.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "trainer/class_indices.hpp"
#include "trainer/datasets.hpp"
#include "trainer/evaluation.hpp"
#include "trainer/local_batch.hpp"
#include "trainer/report.hpp"
#include "trainer/run.hpp"
#include "trainer/run_plan.hpp"
#include "trainer/start.hpp"

namespace dtrain {
namespace {

/// Every sample's logits, in the order of the data set, as tensor "logits" (samples, classes).
void write_logits(const std::string& path, const EvaluationResult& result, const NetworkSpec& network,
                  const Communicator& communicator) {
  const std::string mine(reinterpret_cast<const char*>(result.logits.data()), result.logits.size() * sizeof(float));
  const auto parts = communicator.gather_texts(mine);
  if (!communicator.is_root()) return;
  FileTensor logits{.name = "logits", .shape = {result.sums.samples, network.num_classes}};
  for (const std::string& part : parts) {
    const auto* values = reinterpret_cast<const float*>(part.data());
    logits.f32.insert(logits.f32.end(), values, values + part.size() / sizeof(float));
  }
  TensorFile file;
  file.tensors.push_back(std::move(logits));
  file.metadata["dtrain.model"] = network.name;
  write_tensor_file(path, file);
}

std::string listed(const std::vector<std::int32_t>& indices) {
  std::string text;
  for (const std::int32_t index : indices) text += (text.empty() ? "" : ", ") + std::to_string(index);
  return text;
}

void write_result(const std::string& path, const EvalConfig& config, const EvaluationResult& result) {
  const nlohmann::ordered_json json{{"model", model_entry(config.model).name},
                                    {"weights", config.weights},
                                    {"data", config.data},
                                    {"class_indices", config.class_indices},
                                    {"top1", result.top1()},
                                    {"top5", result.top5()},
                                    {"loss", result.loss()},
                                    {"samples", result.sums.samples},
                                    {"seconds", result.seconds}};
  std::ofstream file(path);
  file << json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << "\n";  // paths need not be UTF-8
  file.flush();
  if (!file) {
    throw DataError(Fault{.doing = "writing the report " + path,
                          .expected = "a file that can be written",
                          .found = "an error of the file system",
                          .remedy = "another --report"});
  }
}

}  // namespace

int run_evaluation(const EvalConfig& config, Communicator& communicator, const RunEnvironment& environment) {
  require_valid(validate(config, communicator.size()));
  const std::size_t at_start_bytes = resident_bytes();
  const ModelEntry& model = model_entry(config.model);
  const std::int64_t crop = config.crop > 0 ? config.crop : model.image_size;
  const auto dataset =
      open_evaluation_data({.train = config.data,
                            .validation = {},
                            .synthetic_size = config.synthetic_size,
                            .synthetic_classes = config.num_classes > 0 ? config.num_classes : model.num_classes,
                            .picture_size = crop});
  const TensorFile file = read_tensor_file(config.weights);
  const bool maps_classes = !config.class_indices.empty();
  // With class indices, the number of folders says nothing about the network.
  const std::int64_t classes = maps_classes ? 0 : static_cast<std::int64_t>(dataset->class_names().size());
  const NetworkSpec network = network_for(config.model, {.num_classes = config.num_classes}, crop, classes);
  std::vector<std::int32_t> class_indices;
  if (maps_classes) class_indices = read_class_indices(config.class_indices, dataset->class_names(), network.num_classes);
  communicator.require_equal({{"precision", to_text(parse_precision(config.precision))},
                              {"--local-batch", std::to_string(config.local_batch)},
                              {"data", describe_dataset(*dataset)},
                              {"class indices", listed(class_indices)}});

  const std::int64_t global_batch =
      config.global_batch > 0 ? config.global_batch : 32 * static_cast<std::int64_t>(communicator.size());
  CompileOptions compile{.training = false,
                         .precision = parse_precision(config.precision),
                         .conv_algorithm = config.conv == "direct" ? ConvAlgorithm::direct : ConvAlgorithm::automatic};
  RankWork work{.resident_bytes = resident_bytes()};  // holds the file by now
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
  const ImportReport imported = import_weights(file, replica.parameters(), ImportMode::exact, head_tensor_names(network));
  if (!imported.unused.empty()) log_root(communicator, describe_import(imported, config.weights));

  if (communicator.is_root()) require_writable_file(config.report, "--report");
  const EvaluationOptions options{.transform = evaluation_transform(network, config.resize),
                                  .workers = loader_workers(config.workers, environment.placement),
                                  .max_damaged = config.max_damaged,
                                  .class_indices = class_indices,
                                  .keeps_logits = !config.logits.empty()};
  const EvaluationResult result = evaluate(replica, *dataset, options, communicator, environment.placement);
  warn_of_damaged(result.faults, "evaluation");
  if (!config.logits.empty()) write_logits(config.logits, result, network, communicator);
  if (!communicator.is_root()) return 0;
  if (!config.report.empty()) write_result(config.report, config, result);
  std::printf("top-1 %.2f %%  top-5 %.2f %%  loss %.4f  on %lld pictures of %s  (%.1f images/s)\n", 100.0 * result.top1(),
              100.0 * result.top5(), result.loss(), static_cast<long long>(result.sums.samples), config.data.c_str(),
              static_cast<double>(result.sums.samples) / result.seconds);
  return 0;
}

}  // namespace dtrain
