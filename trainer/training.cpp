// Putting a rank's training together; see training.hpp.
#include "trainer/training.hpp"

#include <omp.h>
#include <spdlog/spdlog.h>

#include <algorithm>

#include "dtrain/error.hpp"
#include "trainer/bucket_names.hpp"
#include "trainer/parameter_serving.hpp"
#include "trainer/rank_memory.hpp"
#include "trainer/same_images.hpp"
#include "trainer/start.hpp"

namespace dtrain {
namespace {

constexpr double kFirstBucketMb = 1.0;

constexpr std::int64_t kStepsBeforePlan = 3;  ///< from whose last one the overlap is planned

/// Ranks that train apart have weights of their own; so have those that are sent them.
bool wants_shared_update(const TrainConfig& config) {
  return config.shared_update != "off" && !uses_parameter_servers(config) &&
         !parse_algorithm_table(config.allreduce).uses(AllReduceAlgorithm::none);
}

}  // namespace

int ranks_to_share(const TrainConfig& config, const Communicator& communicator) {
  return wants_shared_update(config) ? communicator.node_size() : 1;
}

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
  DataFacts facts{.samples = data.train->size(), .classes = std::ssize(data.train->class_names())};
  if (!data.is_synthetic) facts.class_names = data.train->class_names();
  if (data.validation) facts.validation = digest_text(*data.validation);
  return facts;
}

Training::Training(const RunPlan& plan, const TrainConfig& config, const TrainingRanks& ranks, const Placement& placement)
    : plan_(plan),
      config_(config),
      ranks_(ranks),
      communicator_(ranks.workers()),
      placement_(placement),
      replica_(plan.network, plan.compile, communicator_, wants_shared_update(config) ? &plan.optimizer : nullptr),
      optimizer_(plan.optimizer, replica_.parameters(), replica_.common_optimizer_memory()) {
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
  if (ranks_.has_dedicated_servers()) {
    introduce_servers(ranks_, {replica_.parameters(), optimizer_.states(), first_step}, replica_.has_plain_layout());
  }
  if (ranks_.roles()) {
    served_.emplace(ranks_, served_options(first_step));
  } else {
    reducer_.emplace(communicator_, replica_.window(), reducer_options());
  }
  dataset_ = &dataset;
  damage_.emplace(dataset, config_.max_damaged, communicator_);
  stop_requested_ = stop_requested;
  overlap_planned_at_ = first_step + kStepsBeforePlan;
  // A run of which nothing is left begins at the end of its last stage.
  stage_ = stage_at(plan_.stages, std::min(first_step, plan_.total_steps - 1));
  begin_stage(first_step);
}

void Training::begin_stage(std::int64_t first_step) {
  GradientExchange& exchange = served_ ? static_cast<GradientExchange&>(*served_) : *reducer_;
  trainer_.reset();  // has a reference to the loader
  loader_.emplace(*dataset_, loader_options(),
                  training_sequence(plan_, stage(), communicator_.size(), communicator_.rank(), first_step));
  trainer_.emplace(plan_, stage(), communicator_, replica_, *loader_, *damage_, exchange, optimizer_, stop_requested_,
                   first_step);
}

void Training::next_stage() {
  check(stage_ + 1 < plan_.stages.size() && steps_done() == stage().end, "Training: the stage has ended, and another follows");
  ++stage_;
  begin_stage(stage().begin);
}

void Training::share_damage() {
  if (communicator_.any(damage_->news() > 0)) damage_->share();
}

StepReport Training::step() {
  // The first steps are slower: pages are touched, caches filled.
  if (reducer_ && steps_done() == overlap_planned_at_) reducer_->plan_overlap();
  const StepReport report = trainer_->step();
  if (report.met_damage && sums_all_ranks()) {
    settle();
    damage_->share();
  }
  return report;
}

void Training::gather_optimizer_state() {
  if (served_) served_->gather(optimizer_.states());
}

void Training::finish() {
  settle();
  if (served_) served_->end();
}

bool Training::sums_all_ranks() const {
  const bool are_apart = reducer_ && communicator_.size() > 1 && reducer_->algorithms() == AllReduceAlgorithm::none;
  return !are_apart && !waits_between_steps();
}

bool Training::waits_between_steps() const { return served_ && parse_server_mode(config_.ps_mode) != ServerMode::sync; }

std::string Training::exchange_text() const {
  if (reducer_) return to_text(reducer_->algorithms());
  const std::string servers =
      ranks_.has_dedicated_servers() ? counted(std::ssize(ranks_.roles()->servers), "server") : "co-located servers";
  return "ps: " + servers + ", " + config_.ps_mode;
}

ServedOptions Training::served_options(std::int64_t first_step) {
  const std::span<float> weights = replica_.parameters().weights();
  ServedOptions options{.plan = plan_parameter_servers(config_, *ranks_.roles(), std::ssize(weights), first_step),
                        .memory = {.gradients = replica_.window().own(), .weights = weights},
                        .gradient_ranges = replica_.gradient_ranges(),
                        .overlap = parse_overlap(config_.overlap),
                        .wait = placement_.has_comm_core ? kEagerWait : kPoliteWait,
                        .on_comm_thread_start = [bind = placement_.bind_comm_thread] {
                          bind();
                          omp_set_num_threads(1);  // updates here leave the other cores to the layers
                        }};
  options.wait.timeout_s = config_.stall_timeout_s;
  options.wait.watch = &ranks_.all().watch();
  if (ranks_.has_dedicated_servers()) return options;
  served_weights_ = AlignedMemory(weights.size_bytes());
  options.served_weights = served_weights_.floats().first(weights.size());
  copy_served(options.plan, ranks_.all().rank(), weights, options.served_weights);
  options.update =
      make_server_update(plan_, options.plan, options.served_weights, replica_.parameters().trained_slots(), optimizer_);
  return options;
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
  // What is measured is cut where the chunks of norms are.
  const std::int64_t alignment = optimizer_.measuring_passes() > 0 ? kNormChunkElements : kLineElements;
  std::vector<Range> buckets =
      plan_buckets({.elements = sums_go_alone ? gradients : elements,
                    .bucket_elements = std::max<std::int64_t>(1, elements_of(bucket_bytes)),
                    .first_bucket_elements = elements_of(std::min(kFirstBucketMb * kBytesPerMb, bucket_bytes)),
                    .alignment = alignment});
  if (sums_go_alone) buckets.push_back({gradients, elements});
  // Where batch-norms sum over ranks, the first of them waits for all buckets: overlapping forward hides nothing.
  const Overlap asked_overlap = parse_overlap(config_.overlap);
  const Overlap overlap = asked_overlap == Overlap::automatic && plan_.syncs_norms ? Overlap::backward : asked_overlap;
  std::vector<std::string> names = bucket_names(buckets, replica_.parameters().trained_slots(), algorithms);
  return {.buckets = std::move(buckets),
          .gradient_ranges = replica_.gradient_ranges(),
          .algorithms = algorithms,
          .wire = wire,
          .overlap = overlap,
          .shares_update = replica_.shares_update(),
          .has_comm_core = placement_.has_comm_core,
          .stall_timeout_s = config_.stall_timeout_s,
          .bucket_names = std::move(names),
          .on_comm_thread_start = placement_.bind_comm_thread,
          .measuring_passes = optimizer_.measuring_passes(),
          .measure = [this](int pass, const Range& part) { trainer_->measure(pass, part); },
          .end_measuring = [this](int pass, const WaitPolicy& wait) { trainer_->end_measuring(pass, wait); },
          .shard_alignment = alignment,
          .update = [this](const Range& part, const WaitPolicy& wait) { trainer_->update(part, wait); }};
}

LoaderOptions Training::loader_options() const {
  return {.transform = stage_transform(plan_, stage()),
          .workers = loader_workers(config_.workers, placement_),
          .prefetch_batches = kPrefetchBatches,
          .max_batch = plan_.local_batch,
          .max_damaged = config_.max_damaged,
          .on_worker_start = placement_.bind_loader_thread};
}

}  // namespace dtrain
