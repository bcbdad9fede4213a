// Member after member; see ensemble.hpp.
//
// Note [Members one after the other]: what is kept from member to member is a sum of probabilities, samples / ranks × classes
// floats (ImageNet's validation set on 8 ranks: 25 MB), and one member's weights. Were all members to see each batch while it
// is there, decoding would be done once, but a rank would hold the weights of all (VGG-16: 0.5 GB each); decoding happens on
// the loader's threads, beside the network.
#include "trainer/ensemble.hpp"

#include <algorithm>
#include <array>

#include "dtrain/error.hpp"
#include "trainer/load_weights.hpp"
#include "trainer/mean_probabilities.hpp"
#include "trainer/start.hpp"

namespace dtrain {
namespace {

/// Largest number of samples of one rank.
std::int64_t most_samples(std::int64_t samples, int ranks) { return (samples + ranks - 1) / ranks; }

/// The first one last, so that its weights are there afterwards.
void load_all(const std::vector<std::string>& files, Replica& replica, const Communicator& communicator) {
  for (std::size_t k = files.size(); k-- > 0;) {
    const ImportReport imported = load_weights(files[k], replica, ImportMode::exact, communicator);
    if (!imported.unused.empty() || !imported.said.empty()) log_root(communicator, describe_import(imported, files[k]));
  }
}

constexpr const char* kFiniteWeights =
    "weights of an earlier step, images as they were prepared in training (--mean, --std), or --precision fp32";

/// Over all ranks.
EvaluationResult total_of(const MeanProbabilities& mean, const std::vector<EvaluationResult>& members,
                          const Communicator& communicator) {
  const LossSums mine = mean.sums();
  std::array<double, 3> totals{mine.loss, static_cast<double>(mine.top1), static_cast<double>(mine.top5)};
  communicator.sum(totals);
  EvaluationResult result{.sums = {.loss = totals[0],
                                   .top1 = static_cast<std::int64_t>(totals[1]),
                                   .top5 = static_cast<std::int64_t>(totals[2]),
                                   .samples = members.front().sums.samples},
                          .classes = members.front().classes,
                          .left_out = members.front().left_out};
  for (const EvaluationResult& member : members) result.seconds += member.seconds;
  return result;
}

Agreement agreement_of(const MeanProbabilities& mean, std::size_t members, std::int64_t samples,
                       const Communicator& communicator) {
  const AgreementCounts mine = mean.agreement();
  std::array<double, 2> totals{static_cast<double>(mine.pairs), static_cast<double>(mine.all)};
  communicator.sum(totals);
  const double pairs = static_cast<double>(members * (members - 1) / 2);
  return {.pairs = totals[0] / pairs / static_cast<double>(samples), .all = totals[1] / static_cast<double>(samples)};
}

/// Members are compared image by image. now: of the present member; next: the first one's from there on. Errors: DataError: an
/// image could be read for one of them only.
void require_same_samples(std::span<const std::int64_t> now, std::span<const std::int64_t> next, const Dataset& dataset) {
  if (!now.empty() && now.size() <= next.size() && std::ranges::equal(now, next.first(now.size()))) return;
  const std::int64_t sample = next.empty() ? now.front() : next.front();
  throw DataError(Fault{.doing = "evaluating the members of an ensemble on the same images",
                        .expected = "each of them to be readable for all members, or for none",
                        .found = "another answer the second time, near " + dataset.sample_name(sample),
                        .remedy = "look at the file system that holds it, and start again"});
}

void append(std::vector<Prediction>& predictions, const EvaluatedBatch& batch) {
  const std::size_t num_classes = batch.logits.size() / batch.labels.size();
  for (std::size_t i = 0; i < batch.labels.size(); ++i) {
    predictions.push_back(
        {.label = batch.labels[i], .most_likely = most_likely(batch.logits.subspan(i * num_classes, num_classes))});
  }
}

}  // namespace

std::size_t ensemble_bytes(std::int64_t samples, std::int64_t num_classes, std::size_t members, int ranks) {
  return members > 1 ? MeanProbabilities::bytes(num_classes, most_samples(samples, ranks), members) : 0;
}

EnsembleResult evaluate_ensemble(Replica& replica, const std::vector<std::string>& files, const Dataset& dataset,
                                 const EvaluationOptions& options, const Communicator& communicator,
                                 const Placement& placement) {
  check(!files.empty(), "evaluate_ensemble: at least one file");
  // Ranks of a node may share the weights: nobody writes them while another one still computes, nor the other way round.
  communicator.barrier();
  load_all(files, replica, communicator);

  EnsembleResult result;
  std::optional<MeanProbabilities> mean;
  EvaluationOptions watched = options;
  if (files.size() > 1) {
    mean.emplace(replica.network().num_classes, most_samples(dataset.size(), communicator.size()), files.size());
  }
  std::vector<std::int64_t> samples;  // that the first member saw
  std::size_t seen = 0;               // by the present one
  watched.on_batch = [&](const EvaluatedBatch& batch) {
    if (result.members.empty()) {
      samples.insert(samples.end(), batch.samples.begin(), batch.samples.end());
    } else {
      require_same_samples(batch.samples, std::span(samples).subspan(seen), dataset);
      seen += batch.samples.size();
    }
    if (mean) mean->add(batch.logits, batch.classes);
    if (result.members.empty()) append(result.predictions, batch);
    if (options.on_batch) options.on_batch(batch);
  };
  for (std::size_t k = 0; k < files.size(); ++k) {
    if (k > 0) load_weights(files[k], replica, ImportMode::exact, communicator);
    if (mean) mean->begin_member();
    seen = 0;
    communicator.barrier();
    result.members.push_back(evaluate(replica, dataset, watched, communicator, placement));  // all have computed after this
    require_finite(result.members.back(), "evaluating " + files[k], kFiniteWeights);
    if (k > 0 && seen < samples.size()) require_same_samples({}, std::span(samples).subspan(seen), dataset);
  }
  result.ensemble = result.members.front();
  if (mean) {
    result.ensemble = total_of(*mean, result.members, communicator);
    for (std::size_t i = 0; i < result.predictions.size(); ++i) {
      result.predictions[i].most_likely = mean->most_likely_of(static_cast<std::int64_t>(i));
    }
    result.agreement = agreement_of(*mean, files.size(), result.ensemble.sums.samples, communicator);
  }
  return result;
}

}  // namespace dtrain
