// Putting a rank's training together; see training.hpp.
#include "trainer/training.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "trainer/bucket_names.hpp"
#include "trainer/rank_memory.hpp"
#include "trainer/start.hpp"

namespace dtrain {
namespace {

constexpr double kFirstBucketMb = 1.0;
constexpr double kBytesPerMb = 1024.0 * 1024.0;

/// Ranks that train apart have weights of their own.
bool wants_shared_update(const TrainConfig& config) {
  return config.shared_update != "off" && !parse_algorithm_table(config.allreduce).uses(AllReduceAlgorithm::none);
}

constexpr std::int64_t kStepsBeforePlan = 3;  ///< from whose last one the overlap is planned

}  // namespace

RunData open_training_data(const TrainConfig& config, int ranks) {
  require_valid(validate(config, ranks));
  const ModelEntry& model = model_entry(config.model);
  return open_run_data({.train = config.data,
                        .validation = config.val_data,
                        .synthetic_size = config.synthetic_size,
                        .synthetic_classes = config.num_classes > 0 ? config.num_classes : model.num_classes,
                        .picture_size = config.crop > 0 ? config.crop : model.image_size,
                        .seed = config.seed});
}

DataFacts facts_of(const RunData& data) {
  return {.samples = data.train->size(), .classes = static_cast<std::int64_t>(data.train->class_names().size())};
}

Training::Training(const RunPlan& plan, const TrainConfig& config, const Communicator& communicator, const Placement& placement)
    : plan_(plan),
      config_(config),
      communicator_(communicator),
      placement_(placement),
      replica_(plan.network, plan.compile, communicator, wants_shared_update(config)),
      optimizer_(plan.optimizer, replica_.parameters(), replica_.common_velocity()) {
  const std::string& reason = replica_.update_is_private_because();
  if (config.shared_update == "on" && !reason.empty()) {
    throw ConfigError(Fault{.doing = "sharing the update among the ranks of a node (--shared-update on)",
                            .expected = "memory that they share",
                            .found = reason,
                            .remedy = "--shared-update auto, or a larger /dev/shm"});
  }
}

void Training::warn_of_slow_exchange() const {
  if (!communicator_.is_root()) return;
  if (!replica_.window().is_shared()) spdlog::warn("gradients are not in node-shared memory: {}", replica_.window().reason());
  if (!replica_.update_is_private_because().empty())
    spdlog::warn("every rank updates all weights, in memory of its own: {}", replica_.update_is_private_because());
  if (replica_.has_plain_layout())
    spdlog::warn("ranks prefer different weight layouts (different CPUs?): all use the plain one");
}

void Training::start(const Dataset& dataset, std::int64_t first_step, const std::atomic<bool>* stop_requested) {
  reducer_.emplace(communicator_, replica_.window(), reducer_options());
  loader_.emplace(dataset, loader_options(), training_sequence(plan_, communicator_.size(), communicator_.rank(), first_step));
  overlap_planned_at_ = first_step + kStepsBeforePlan;
  trainer_.emplace(plan_, communicator_, replica_, *loader_, *reducer_, optimizer_, stop_requested, first_step);
}

StepReport Training::step() {
  // The first steps are slower: pages are touched, caches filled.
  if (steps_done() == overlap_planned_at_) reducer_->plan_overlap();
  return trainer_->step();
}

ReducerOptions Training::reducer_options() {
  const auto elements = static_cast<std::int64_t>(replica_.window().own().size());
  const WireType wire = parse_wire_type(config_.wire_dtype);
  const AlgorithmTable algorithms =
      choose_algorithms(parse_algorithm_table(config_.allreduce), communicator_, replica_.window(), wire);
  const double bucket_bytes = config_.fusion_mb ? *config_.fusion_mb * kBytesPerMb
                                                : static_cast<double>(plan_bucket_bytes(algorithms, cluster_of(communicator_)));
  const auto elements_of = [](double bytes) { return static_cast<std::int64_t>(bytes / sizeof(float)); };
  // The step's sums go with the last gradients, unless those are rounded on the way.
  const auto gradients = static_cast<std::int64_t>(replica_.parameters().gradients().size());
  const bool sums_go_alone = wire != WireType::fp32;
  std::vector<Range> buckets =
      plan_buckets({.elements = sums_go_alone ? gradients : elements,
                    .bucket_elements = std::max<std::int64_t>(1, elements_of(bucket_bytes)),
                    .first_bucket_elements = elements_of(std::min(kFirstBucketMb * kBytesPerMb, bucket_bytes))});
  if (sums_go_alone) buckets.push_back({gradients, elements});
  std::vector<std::string> names = bucket_names(buckets, replica_.parameters().trained_slots(), algorithms);
  return {.buckets = std::move(buckets),
          .gradient_ranges = replica_.gradient_ranges(),
          .algorithms = algorithms,
          .wire = wire,
          .overlap = parse_overlap(config_.overlap),
          .shares_update = replica_.shares_update(),
          .has_comm_core = placement_.has_comm_core,
          .stall_timeout_s = config_.stall_timeout_s,
          .bucket_names = std::move(names),
          .on_comm_thread_start = placement_.bind_comm_thread,
          .update = [this](const Range& bucket) { trainer_->update(bucket); }};
}

LoaderOptions Training::loader_options() const {
  return {.transform = plan_.train_transform,
          .workers = loader_workers(config_.workers, placement_),
          .prefetch_batches = kPrefetchBatches,
          .max_batch = plan_.local_batch,
          .max_damaged = config_.max_damaged,
          .on_worker_start = placement_.bind_loader_thread};
}

}  // namespace dtrain
