// Adding up a rank's memory; see rank_memory.hpp.
#include "trainer/rank_memory.hpp"

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <utility>

#include "schedules/shards.hpp"

namespace dtrain {
namespace {

std::size_t picture_bytes(const NetworkSpec& network, std::int64_t pictures, std::int64_t crop) {
  return static_cast<std::size_t>(pictures * network.channels * crop * crop) * sizeof(float);
}

// Primitives, their generated code and the pages of libraries that computing touches: resident memory beyond all that is
// planned exactly, after three steps at batch 16 on AVX-512 with oneDNN 2.6 (`dtrain --model M --global-batch 16 --steps 3
// --threads 2`): vgg16 (16 layers with parameters) 18 MB, googlenet (115) 24 MB, densenet121 (242) 36 MB.
constexpr std::size_t kComputing_bytes = 14'000'000;
constexpr std::size_t kLayer_bytes = 90'000;

// Resident memory of a rank grows by so much for each rank that it has exchanged messages with, most of it after what is there
// at the start was measured: 60 MB where 46 MB were planned with 64 ranks, Open MPI 4.1 on one machine.
constexpr std::size_t kPeer_bytes = 220'000;

std::size_t estimate_kernels(const NetworkSpec& network, std::size_t graphs) {
  const auto by_node = parameters_by_node(network);
  const auto layers = std::count_if(by_node.begin(), by_node.end(), [](const auto& specs) { return !specs.empty(); });
  return kComputing_bytes + graphs * static_cast<std::size_t>(layers) * kLayer_bytes;
}

}  // namespace

RankWork training_work(const RunPlan& plan, int ranks, int rank, bool evaluates) {
  std::vector<std::int64_t> batches =
      micro_batch_sizes(plan.samples, plan.global_batch, ranks, rank, plan.local_batch, data_steps(plan.stages));
  if (plan.syncs_norms && batches.empty()) batches.push_back(1);  // its graph takes part in the others' sums
  return {.training_batches = std::move(batches),
          .training_crops = training_crops(plan),
          .evaluation_batch = evaluates ? plan.local_batch : 0,
          .loader_batch = plan.local_batch,
          .samples = plan.samples,
          .optimizer = plan.optimizer,
          .ranks = ranks};
}

std::vector<TrainingShape> training_shapes(const NetworkSpec& network, const RankWork& work) {
  std::vector<std::int64_t> crops = work.training_crops;
  if (crops.empty()) crops.push_back(network.height);
  std::vector<TrainingShape> shapes;
  for (const std::int64_t crop : crops) {
    for (const std::int64_t batch : work.training_batches) shapes.push_back({batch, crop});
  }
  return shapes;
}

std::vector<RankMemory::Line> RankMemory::lines() const {
  return {{"activations_bytes", "activations and their gradients", activations_bytes},
          {"weights_bytes", "weights", weights_bytes},
          {"gradients_bytes", "gradients", gradients_bytes},
          {"optimizer_bytes", "optimizer state", optimizer_bytes},
          {"statistics_bytes", "batch-norm statistics", statistics_bytes},
          {"serving_bytes", "parameter server", serving_bytes},
          {"kernels_bytes", "kernels (estimated)", kernels_bytes},
          {"peers_bytes", "messages of ranks (estimated)", peers_bytes},
          {"pictures_bytes", "pictures loaded ahead", pictures_bytes},
          {"checkpoint_bytes", "checkpoint being written", checkpoint_bytes},
          {"resident_bytes", "program and libraries (measured)", resident_bytes}};
}

std::size_t RankMemory::total_bytes() const {
  const std::vector<Line> parts = lines();
  return std::accumulate(parts.begin(), parts.end(), std::size_t{0},
                         [](std::size_t sum, const Line& line) { return sum + line.bytes; });
}

RankMemory account_memory(const NetworkSpec& network, const ParameterStore& parameters, const std::vector<MemoryPlan>& graphs,
                          const RankWork& work) {
  const bool trains = !work.training_batches.empty();
  const std::size_t whole_bytes = parameters.weights().size_bytes();
  const std::int64_t weights = std::ssize(parameters.weights());
  const auto bytes_of = [&](std::int64_t elements) { return trains ? static_cast<std::size_t>(elements) * sizeof(float) : 0; };
  const std::size_t optimizer_bytes =
      bytes_of(Optimizer::memory_elements(work.optimizer, weights, std::ssize(parameters.trained_slots())));
  const auto part_of = [&](std::size_t bytes) { return bytes / static_cast<std::size_t>(work.sharing_ranks); };
  RankMemory memory{.weights_bytes = part_of(whole_bytes),
                    .gradients_bytes = trains ? parameters.gradients().size_bytes() : 0,
                    .optimizer_bytes = part_of(optimizer_bytes),
                    .kernels_bytes = estimate_kernels(network, graphs.size()),
                    .peers_bytes = static_cast<std::size_t>(work.ranks - 1) * kPeer_bytes,
                    .resident_bytes = work.resident_bytes};
  for (const MemoryPlan& graph : graphs) {
    memory.activations_bytes = std::max(memory.activations_bytes, graph.activations_bytes);  // used in turn
    memory.scratch_bytes = std::max(memory.scratch_bytes, graph.scratchpad_bytes);
  }
  if (work.serving_bytes) memory.serving_bytes = work.serving_bytes(std::ssize(parameters.weights()));
  memory.statistics_bytes = parameters.statistics().size_bytes();
  // Evaluation has a loader of its own beside the waiting one of training, and room to fill up its last batch.
  const std::int64_t largest_crop = work.training_crops.empty() ? network.height : std::ranges::max(work.training_crops);
  memory.pictures_bytes = picture_bytes(network, kPrefetchBatches * work.loader_batch, largest_crop) +
                          picture_bytes(network, (kPrefetchBatches + 1) * work.evaluation_batch, network.height) +
                          static_cast<std::size_t>(work.samples) * sizeof(std::int64_t);
  if (work.saves) {
    const auto sets = static_cast<std::size_t>(1 + 2 * work.saved_statistics);  // gathered, and row-major
    memory.checkpoint_bytes = whole_bytes + bytes_of(Optimizer::state_elements(work.optimizer, weights)) +
                              sets * parameters.statistics().size_bytes();
  }
  return memory;
}

RankMemory plan_memory(const NetworkSpec& network, const CompileOptions& options, const RankWork& work) {
  // The arenas of this store are never touched, so it costs no memory: it only tells layouts and sizes.
  const ParameterStore parameters(Graph::plan_parameters(network, options, false));
  std::vector<MemoryPlan> graphs;
  CompileOptions of_graph = options;
  of_graph.training = true;
  for (const TrainingShape& shape : training_shapes(network, work)) {
    of_graph.batch = shape.batch;
    graphs.push_back(Graph::plan_memory(network_at(network, shape.crop), parameters, of_graph));
  }
  if (work.evaluation_batch > 0) {
    of_graph.batch = work.evaluation_batch;
    of_graph.training = false;
    graphs.push_back(Graph::plan_memory(network, parameters, of_graph));
  }
  return account_memory(network, parameters, graphs, work);
}

std::string describe(const RankMemory& memory) {
  const auto megabytes = [](std::size_t bytes) { return std::to_string((bytes + 500000) / 1000000) + " MB"; };
  std::string text;
  for (const RankMemory::Line& line : memory.lines()) {
    if (line.bytes > 0) text += (text.empty() ? "" : ", ") + std::string(line.text) + " " + megabytes(line.bytes);
  }
  return "memory plan: " + megabytes(memory.total_bytes()) + " a rank: " + text;
}

std::size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");  // pages: total, resident, …
  std::size_t total = 0;
  std::size_t resident = 0;
  file >> total >> resident;
  return resident * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

std::string gigabytes_text(std::size_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GB", static_cast<double>(bytes) / 1e9);
  return text;
}

}  // namespace dtrain
