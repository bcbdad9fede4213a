// Building and compiling a rank's replica; see replica.hpp.
#include "trainer/replica.hpp"

#include <algorithm>
#include <atomic>
#include <iterator>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr std::int64_t kFlagElements = kSlotAlignment;  // behind the optimizer's memory; not 0: some weight is not finite

}  // namespace

Replica::Replica(const NetworkSpec& network, const CompileOptions& options, const Communicator& communicator,
                 const OptimizerSettings* shared_optimizer)
    : network_(network), options_(options), communicator_(communicator), names_(dtrain::tensor_names(network)) {
  auto entries = Graph::plan_parameters(network_, options_, false);
  // The arenas of this store are never touched, so it costs no memory: it only tells the layout's digest.
  const std::string digest = std::to_string(ParameterStore(entries).layout_digest());
  const auto digests = communicator.gather_texts(digest);
  has_plain_layout_ = std::any_of(digests.begin(), digests.end(), [&](const std::string& other) { return other != digest; });
  if (has_plain_layout_) entries = Graph::plan_parameters(network_, options_, true);

  const std::int64_t elements = ParameterStore::gradient_elements(entries);
  // Where nothing is trained, the store's own gradients are never touched and cost nothing; a window's pages are.
  if (options_.training) window_ = std::make_unique<NodeWindow>(communicator, elements + kStepSumElements);
  if (shared_optimizer != nullptr && communicator.node_size() > 1) {
    const auto slots = std::ranges::count_if(entries, [](const auto& entry) { return entry.spec.is_trained(); });
    const std::int64_t common_elements =
        elements + Optimizer::memory_elements(*shared_optimizer, elements, slots) + kFlagElements;
    common_ = std::make_unique<NodeWindow>(communicator, common_elements, NodeWindow::Extent::one_segment);
    private_because_ = common_->reason();
    if (!common_->is_shared()) common_.reset();
  }
  parameters_ = std::make_unique<ParameterStore>(std::move(entries), window_ ? window_->own() : std::span<float>(),
                                                 common_ ? common_->own() : std::span<float>());

  gradient_ranges_.assign(network_.nodes.size(), {});
  const auto specs = parameters_by_node(network_);
  for (std::size_t node = 0; node < specs.size(); ++node) {
    for (const ParameterSpec& spec : specs[node]) {
      if (!spec.is_trained()) continue;
      const Slot* slot = parameters_->find(spec.name);
      check(slot != nullptr, "Replica: every parameter has a slot");
      const std::int64_t end = (slot->offset + slot->size + kSlotAlignment - 1) / kSlotAlignment * kSlotAlignment;
      Range& range = gradient_ranges_[node];
      range =
          range.size() == 0 ? Range{slot->offset, end} : Range{std::min(range.begin, slot->offset), std::max(range.end, end)};
    }
  }
}

RankMemory Replica::compile(RankWork work) {
  work.sharing_ranks = common_ ? communicator_.node_size() : 1;
  CompileOptions options = options_;
  std::vector<MemoryPlan> plans;
  for (const TrainingShape& shape : training_shapes(network_, work)) {
    options.batch = shape.batch;
    training_graphs_.push_back({shape.crop, Graph(network_at(network_, shape.crop), *parameters_, options)});
    plans.push_back(training_graphs_.back().graph.memory_plan());
  }
  if (work.evaluation_batch > 0) {
    options.batch = work.evaluation_batch;
    options.training = false;
    plans.push_back(evaluation_graph_.emplace_back(network_, *parameters_, options).memory_plan());
  }
  const RankMemory memory = account_memory(network_, *parameters_, plans, work);
  arena_ = AlignedMemory(memory.activations_bytes);
  for (SizedGraph& sized : training_graphs_) sized.graph.bind({arena_.data(), arena_.size_bytes()});
  for (Graph& graph : evaluation_graph_) graph.bind({arena_.data(), arena_.size_bytes()});
  return memory;
}

Graph& Replica::training_graph(std::int64_t batch, std::int64_t crop) {
  const auto sized = std::find_if(training_graphs_.begin(), training_graphs_.end(), [&](const SizedGraph& candidate) {
    return candidate.graph.options().batch == batch && candidate.crop == crop;
  });
  check(sized != training_graphs_.end(), "Replica: a graph was compiled for every micro-batch size");
  return sized->graph;
}

Graph& Replica::largest_training_graph() {
  check(!training_graphs_.empty(), "Replica: a training graph was compiled");
  return training_graphs_.front().graph;
}

Graph& Replica::evaluation_graph() {
  check(!evaluation_graph_.empty(), "Replica: an evaluation graph was compiled");
  return evaluation_graph_.front();
}

StepSums& Replica::step_sums() {
  static_assert(sizeof(StepSums) <= kStepSumElements * sizeof(float));
  return *reinterpret_cast<StepSums*>(window_->own().subspan(parameters_->gradients().size()).data());
}

std::span<float> Replica::common_optimizer_memory() const {
  if (!common_) return {};
  const std::span<float> all = common_->own();
  const std::size_t weights = parameters_->weights().size();
  return all.subspan(weights, all.size() - weights - kFlagElements);
}

void Replica::meet_before_update(const WaitPolicy& wait) {
  if (common_) common_->barrier(wait, "measuring the gradients of shared weights");
}

bool Replica::meet_after_update(bool are_finite, const WaitPolicy& wait) {
  if (!common_) return are_finite;
  float& flag = common_->own().last(kFlagElements).front();
  // Set once and never reset, so it does not matter who sees it early.
  if (!are_finite) std::atomic_ref(flag).store(1.0f, std::memory_order_relaxed);
  common_->barrier(wait, "sharing the update of the weights");
  return std::atomic_ref(flag).load(std::memory_order_relaxed) == 0.0f;
}

void Replica::swap_weights(std::span<float> others) {
  const std::span<float> weights = parameters_->weights();
  check(others.size() == weights.size(), "Replica: arenas that change places are laid out alike");
  const Range all{0, std::ssize(weights)};
  const Range mine = common_ ? split_range(all, communicator_.node_size(), communicator_.node_rank()) : all;
  communicator_.barrier();  // ranks of the node may still read their common weights
  std::swap_ranges(weights.begin() + mine.begin, weights.begin() + mine.end, others.begin() + mine.begin);
  communicator_.barrier();
}

void Replica::take_statistics(std::span<const float> values, std::int64_t images) {
  std::ranges::copy(values, parameters_->statistics().begin());
  pictures_ = images;
}

void Replica::reset_statistics() {
  for (const Slot& slot : parameters_->statistics_slots()) {
    std::ranges::fill(parameters_->values(slot), slot.spec.kind == ParameterSpec::Kind::running_var ? 1.0f : 0.0f);
  }
  parameters_->batches_tracked = 0;
  pictures_ = 0;
}

}  // namespace dtrain
