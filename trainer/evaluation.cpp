// Evaluation; see evaluation.hpp.
#include "trainer/evaluation.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "dtrain/error.hpp"
#include "schedules/shards.hpp"
#include "trainer/clock.hpp"
#include "trainer/learning_watch.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

[[noreturn]] void throw_unreadable(const DamagedImages& damaged) {
  throw DataError(
      Fault{.doing = "evaluating",
            .expected = "an image that can be read",
            .found = "none among " + std::to_string(damaged.count()) +
                     (damaged.messages.empty() ? "" : ", for example\n  " + visible_text(damaged.messages.front()) + "\n  "),
            .remedy = "restore the files from their source, or name other images"});
}

}  // namespace

EvaluationResult evaluate(Replica& replica, const Dataset& dataset, const EvaluationOptions& options,
                          const Communicator& communicator, const Placement& placement) {
  Graph& graph = replica.evaluation_graph();
  const NetworkSpec& network = replica.network();
  const std::int64_t batch_size = graph.options().batch;
  const Range mine = split_range({0, dataset.size()}, communicator.size(), communicator.rank());
  const double begin_s = seconds();

  DataLoader loader(dataset,
                    LoaderOptions{.transform = options.transform,
                                  .workers = options.workers,
                                  .prefetch_batches = kPrefetchBatches,
                                  .max_batch = batch_size,
                                  .max_damaged = options.max_damaged,
                                  .on_damage = OnDamage::leave_out,
                                  .on_worker_start = placement.bind_loader_thread},
                    [=](std::int64_t k) {
                      std::vector<SampleRequest> requests;
                      const std::int64_t begin = mine.begin + k * batch_size;
                      for (std::int64_t i = begin; i < std::min(mine.end, begin + batch_size); ++i)
                        requests.push_back({.sample = i});
                      return requests;
                    });

  // The last batch may be short; the graph computes on whole batches, and what is beyond the count is not counted.
  Tensor padded(Shape{batch_size, network.channels, network.height, network.width});
  std::vector<std::int32_t> mapped;
  EvaluationResult result;
  std::vector<DamagedSample> damaged;
  PredictedRange predicted;
  for (;;) {
    await_batch(loader, options.patience, communicator, {});
    const Batch& batch = loader.next();
    damaged.insert(damaged.end(), batch.damaged.begin(), batch.damaged.end());
    if (batch.count == 0) break;
    std::span<const float> images = batch.images;
    if (batch.count < batch_size) {
      std::ranges::copy(images, padded.values().begin());
      images = padded.values();
    }
    const Tensor& logits = graph.forward(images, PassOptions{});
    const auto counted = logits.values().first(static_cast<std::size_t>(batch.count * network.num_classes));
    std::span<const std::int32_t> classes = batch.labels;
    if (!options.class_indices.empty()) {
      mapped.resize(batch.labels.size());
      std::ranges::transform(batch.labels, mapped.begin(),
                             [&](std::int32_t label) { return options.class_indices[static_cast<std::size_t>(label)]; });
      classes = mapped;
    }
    predicted.add(counted, network.num_classes);
    result.sums += softmax_cross_entropy(counted, classes, network.num_classes, 0.0f, 0.0f, {});
    if (options.on_batch)
      options.on_batch({.logits = counted, .samples = batch.samples, .labels = batch.labels, .classes = classes});
  }

  result.classes = network.num_classes;
  std::array<double, 5> totals{result.sums.loss, static_cast<double>(result.sums.top1), static_cast<double>(result.sums.top5),
                               static_cast<double>(result.sums.samples), static_cast<double>(damaged.size())};
  communicator.sum(totals);
  result.sums = {.loss = totals[0],
                 .top1 = static_cast<std::int64_t>(totals[1]),
                 .top5 = static_cast<std::int64_t>(totals[2]),
                 .samples = static_cast<std::int64_t>(totals[3])};
  if (totals[4] > 0.0) result.left_out = gather_damaged(damaged, dataset, communicator);
  require_few_damaged(result.left_out, options.max_damaged, "evaluating");
  if (result.sums.samples == 0) throw_unreadable(result.left_out);
  const double lowest = -communicator.max(-static_cast<double>(predicted.lowest));
  const double highest = communicator.max(static_cast<double>(predicted.highest));
  if (lowest == highest) result.only_class = static_cast<std::int64_t>(highest);
  result.seconds = communicator.max(seconds() - begin_s);
  return result;
}

void require_finite(const EvaluationResult& result, const std::string& doing, const std::string& remedy) {
  if (std::isfinite(result.loss())) return;
  throw DivergedError(Fault{.doing = doing,
                            .expected = "finite outputs for every image",
                            .found = "some that are infinite or not a number",
                            .remedy = remedy});
}

}  // namespace dtrain
