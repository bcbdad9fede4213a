// Training with batch-norm's statistics over all ranks, on real ranks: logits, gradients and statistics are those of one graph
// that has all the pictures.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "collectives/all_reduce.hpp"
#include "dtrain/loss.hpp"
#include "dtrain/models.hpp"
#include "trainer/training.hpp"

namespace dtrain {
namespace {

using Tensors = std::map<std::string, std::vector<float>>;

// Forward has nearly always the same bits (Note [Ranks take their moments around one origin]), so no ReLU's sign turns, and
// what is left are the sums of the gradients of weights: in f32 over the pixels of all pictures one after the other, or of each
// rank's. K terms of a random walk round by 2⁻²⁴·√k at step k, together 2⁻²⁴·√(K/2) of the sum's size √K: for 8 pictures of
// 16×16 pixels 1.9e-6, for parts of them less.
constexpr double kTolerance = 1e-5;

constexpr std::int64_t kSide = 16;
/// Of a step whose weights tell its gradient to 2⁻²⁴: those from before are far smaller.
constexpr double kLargeRate = 1e7;

void expect_near(std::span<const float> got, std::span<const float> want, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double largest = 0.0, worst = 0.0;
  for (std::size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(want[i])));
    const double error = std::abs(static_cast<double>(got[i]) - static_cast<double>(want[i]));
    if (!(error <= worst)) worst = error;  // NaN counts as worst
  }
  EXPECT_LE(worst, tolerance * largest) << what << ", whose largest is " << largest;
}

Tensors plain(const std::vector<Slot>& slots, const std::function<std::span<const float>(const Slot&)>& values) {
  Tensors tensors;
  for (const Slot& slot : slots) {
    std::vector<float>& tensor = tensors[slot.spec.name];
    tensor.resize(static_cast<std::size_t>(element_count(slot.spec.shape)));
    copy_to_plain(slot.layout, values(slot), tensor);
  }
  return tensors;
}

struct Step {
  std::vector<float> logits;  ///< of the pictures in their order
  Tensors gradients, statistics;
};

/// Positions of all ranks in every round.
using Rounds = std::vector<std::vector<Range>>;

Rounds rounds_of(const RunPlan& plan, int ranks) {
  const StepPosition position = step_position(0, plan.samples, plan.global_batch);
  Rounds rounds(step_share(position, ranks, 0, plan.local_batch).micro_batches.size());
  for (int rank = 0; rank < ranks; ++rank) {
    const auto micro_batches = step_share(position, ranks, rank, plan.local_batch).micro_batches;
    const std::size_t first = rounds.size() - micro_batches.size();
    for (std::size_t k = 0; k < micro_batches.size(); ++k) rounds[first + k].push_back(micro_batches[k]);
  }
  return rounds;
}

/// Pictures of these positions, which are the samples' own numbers: nothing is shuffled.
struct Pictures {
  Pictures(const Dataset& dataset, const RunPlan& plan, const std::vector<Range>& ranges) {
    const std::int64_t elements = plan.network.channels * kSide * kSide;
    Picture scratch;
    for (const Range& range : ranges) {
      for (std::int64_t sample = range.begin; sample < range.end; ++sample) {
        images.resize(images.size() + static_cast<std::size_t>(elements));
        transform_picture(dataset, {.sample = sample}, plan.train_transform, scratch,
                          std::span(images).last(static_cast<std::size_t>(elements)));
        labels.push_back(dataset.label(sample));
      }
    }
  }
  std::int64_t count() const { return std::ssize(labels); }

  std::vector<float> images;
  std::vector<std::int32_t> labels;
};

/// A step of one graph for every set of pictures, one after the other; `all`: pictures in the step.
Step step_of(const RunPlan& plan, const std::vector<Pictures>& parts, std::int64_t all,
             const StatisticsExchange* across_ranks) {
  ParameterStore store(Graph::plan_parameters(plan.network, plan.compile, true));
  initialize(plan.network, plan.seed, store);
  Step step;
  for (const Pictures& pictures : parts) {
    CompileOptions options = plan.compile;
    options.batch = pictures.count();
    Graph graph(plan.network, store, options);
    const AlignedMemory arena(graph.memory_plan().activations_bytes);
    graph.bind({arena.data(), arena.size_bytes()});
    const float share = static_cast<float>(pictures.count()) / static_cast<float>(all);
    const auto logits = graph
                            .forward(pictures.images, {.is_first_micro_batch = &pictures == &parts.front(),
                                                       .statistics_share = across_ranks != nullptr ? 1.0f : share,
                                                       .across_ranks = across_ranks})
                            .values();
    step.logits.insert(step.logits.end(), logits.begin(), logits.end());
    std::vector<float> diff_logits(logits.size());
    (void)training_loss(logits, pictures.labels, plan.network.outputs, 0.0f, 1.0f / static_cast<float>(all), diff_logits);
    graph.backward(diff_logits, [](LayerIndex) {});
  }
  step.gradients = plain(store.trained_slots(), [&](const Slot& slot) { return store.gradient(slot); });
  step.statistics = plain(store.statistics_slots(), [&](const Slot& slot) { return store.values(slot); });
  return step;
}

class SyncedNorm : public testing::Test {
 protected:
  TrainConfig config_of(std::int64_t global_batch, std::int64_t local_batch) const {
    TrainConfig config;
    config.model = "resnet20";
    config.crop = kSide;
    config.augment = "none";
    config.shuffle = false;
    config.conv = "direct";
    config.bn = "sync";
    config.schedule = "constant";
    config.lr = kLargeRate;
    config.momentum = config.weight_decay = 0.0;
    config.global_batch = global_batch;
    config.local_batch = local_batch;
    config.steps = 1;
    return config;
  }

  struct Trained {
    RunPlan plan;
    Tensors start, weights, statistics;
  };

  Trained train(const TrainConfig& config, std::int64_t samples) const {
    EXPECT_EQ(validate(config, ranks_), std::vector<std::string>{});
    const auto dataset = make_dataset(samples);
    Trained trained{.plan = plan_run(config, {.samples = samples, .classes = 10}, ranks_)};
    const TrainingRanks training_ranks(config, communicator_);
    const Placement placement;
    Training training(trained.plan, config, training_ranks, placement);
    training.replica().compile(training_work(trained.plan, ranks_, communicator_.rank(), false));
    ParameterStore& parameters = training.replica().parameters();
    initialize(trained.plan.network, trained.plan.seed, parameters);
    communicator_.barrier();  // the weights may be common
    trained.start = plain(parameters.trained_slots(), [&](const Slot& slot) { return parameters.values(slot); });
    training.start(*dataset, 0, nullptr);
    while (training.steps_done() < trained.plan.total_steps) training.step();
    training.finish();
    trained.weights = plain(parameters.trained_slots(), [&](const Slot& slot) { return parameters.values(slot); });
    trained.statistics = plain(parameters.statistics_slots(), [&](const Slot& slot) { return parameters.values(slot); });
    return trained;
  }

  static std::unique_ptr<Dataset> make_dataset(std::int64_t samples) {
    return make_synthetic({.size = samples, .num_classes = 10, .image_size = kSide});
  }

  /// One step of all ranks, held against one graph for each round.
  void expect_step_of_one_rank(std::int64_t samples, std::int64_t global_batch, std::int64_t local_batch) {
    const Trained trained = train(config_of(global_batch, local_batch), samples);

    std::vector<Pictures> parts;
    for (const auto& round : rounds_of(trained.plan, ranks_)) parts.emplace_back(*make_dataset(samples), trained.plan, round);
    const Step one = step_of(trained.plan, parts, std::min(samples, global_batch), nullptr);
    for (const auto& [name, weights] : trained.weights) {
      std::vector<float> gradient(weights.size());
      std::ranges::transform(trained.start.at(name), weights, gradient.begin(), [](float before, float after) {
        return static_cast<float>((double{before} - double{after}) / kLargeRate);
      });
      expect_near(gradient, one.gradients.at(name), kTolerance, name);
    }
    for (const auto& [name, values] : trained.statistics) {
      expect_near(values, one.statistics.at(name), kTolerance, name);
      expect_all_ranks_have(values, name);
    }
  }

  void expect_all_ranks_have(std::span<const float> values, const std::string& what) const {
    const std::string bits(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    EXPECT_EQ(communicator_.broadcast_text(bits), bits) << what;
  }

  const Communicator communicator_;
  const int ranks_ = communicator_.size();
};

TEST_F(SyncedNorm, GivesTwoPicturesOfARankTheLogitsAndGradientsThatTheyHaveAmongAll) {
  const RunPlan plan = plan_run(config_of(2 * ranks_, 2), {.samples = 2 * ranks_, .classes = 10}, ranks_);
  const auto dataset = make_dataset(plan.samples);
  const Range own{2 * communicator_.rank(), 2 * communicator_.rank() + 2};
  const StatisticsExchange exchange{
      .broadcast = [&](std::span<float> values) { broadcast_from_root(communicator_, values, kPoliteWait); },
      .sum = [&](std::span<double> values) { sum_at_root(communicator_, values, kPoliteWait); }};

  Step part = step_of(plan, {Pictures(*dataset, plan, {own})}, plan.samples, &exchange);

  const Step whole = step_of(plan, {Pictures(*dataset, plan, {{0, plan.samples}})}, plan.samples, nullptr);
  const std::size_t classes = 10;
  const std::span of_own = std::span(whole.logits).subspan(static_cast<std::size_t>(own.begin) * classes, 2 * classes);
  expect_near(part.logits, of_own, kTolerance, "logits");
  for (auto& [name, gradient] : part.gradients) {
    communicator_.sum(gradient);
    expect_near(gradient, whole.gradients.at(name), kTolerance, name);
  }
  for (const auto& [name, values] : part.statistics) {
    expect_near(values, whole.statistics.at(name), kTolerance, name);
    expect_all_ranks_have(values, name);
  }
}

TEST_F(SyncedNorm, MakesTheStepOfOneRank) { expect_step_of_one_rank(2 * ranks_, 2 * ranks_, 2); }

TEST_F(SyncedNorm, CountsUnevenSharesByTheirPictures) { expect_step_of_one_rank(2 * ranks_ + 1, 2 * ranks_ + 1, 3); }

TEST_F(SyncedNorm, LetsRanksWithoutPicturesTakePart) { expect_step_of_one_rank(std::max(1, ranks_ - 1), ranks_, 1); }

// Rank 0 has two micro-batches, the last one has one.
TEST_F(SyncedNorm, LetsRanksWithFewerMicroBatchesTakePart) { expect_step_of_one_rank(2 * ranks_, 2 * ranks_ - 1, 1); }

// Buckets and sums take turns in the same order on all ranks, whenever buckets travel; an epoch's last step is a short one.
TEST_F(SyncedNorm, HasTheSameBitsWheneverGradientsTravel) {
  TrainConfig config = config_of(2 * ranks_, 1);
  config.lr = 0.01;
  config.steps = 5;
  config.fusion_mb = 0.1;
  Tensors weights;
  for (const char* overlap : {"off", "backward", "forward", "on"}) {
    SCOPED_TRACE(overlap);
    config.overlap = overlap;

    const Trained trained = train(config, 3 * ranks_ + 1);

    if (weights.empty()) weights = trained.weights;
    EXPECT_EQ(trained.weights, weights);
    for (const auto& [name, values] : trained.statistics) expect_all_ranks_have(values, name);
    for (const auto& [name, values] : trained.weights) expect_all_ranks_have(values, name);
  }
}

}  // namespace
}  // namespace dtrain
