// Batch normalisation over the pictures of several ranks, which are threads here: what they make of their parts of a batch is
// what one graph makes of the whole, uneven parts, several micro-batches and ranks without pictures included.
#include <gtest/gtest.h>
#include <omp.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <memory>
#include <numeric>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "dtrain/models.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace dtrain {
namespace {

/// Threads that exchange as ranks do, in rank order.
class MeetingRanks {
 public:
  explicit MeetingRanks(int size) : doubles_(static_cast<std::size_t>(size)), floats_(doubles_.size()), barrier_(size) {}

  StatisticsExchange exchange_of(int rank) {
    const auto own = static_cast<std::size_t>(rank);
    return {.broadcast =
                [this, own](std::span<float> values) {
                  if (own == 0) ++broadcasts_;
                  floats_[own] = values;
                  barrier_.arrive_and_wait();
                  EXPECT_EQ(values.size(), floats_[0].size());
                  if (own > 0) std::ranges::copy(floats_[0], values.begin());
                  barrier_.arrive_and_wait();
                },
            .sum =
                [this, own](std::span<double> values) {
                  if (own == 0) ++sums_;
                  doubles_[own] = values;
                  barrier_.arrive_and_wait();
                  std::vector<double> total(values.size(), 0.0);
                  for (const std::span<double> part : doubles_) {
                    EXPECT_EQ(part.size(), total.size());
                    std::ranges::transform(part, total, total.begin(), std::plus<>());
                  }
                  barrier_.arrive_and_wait();
                  std::ranges::copy(total, values.begin());
                  barrier_.arrive_and_wait();
                }};
  }

  int broadcasts() const { return broadcasts_; }
  int sums() const { return sums_; }

 private:
  std::vector<std::span<double>> doubles_;
  std::vector<std::span<float>> floats_;
  std::barrier<> barrier_;
  int broadcasts_ = 0, sums_ = 0;
};

/// Pictures of every rank in every round: of all ranks at the same time.
using Rounds = std::vector<std::vector<std::int64_t>>;

std::int64_t total_of(const std::vector<std::int64_t>& round) {
  return std::accumulate(round.begin(), round.end(), std::int64_t{0});
}

std::int64_t total_of(const Rounds& rounds) {
  std::int64_t pictures = 0;
  for (const auto& round : rounds) pictures += total_of(round);
  return pictures;
}

Rounds on_one_rank(const Rounds& rounds) {
  Rounds alone;
  for (const auto& round : rounds) alone.push_back({total_of(round)});
  return alone;
}

/// A step's pictures and gradients of its logits.
struct Work {
  Work(const NetworkSpec& of, std::int64_t count)
      : network(of),
        pictures(count),
        values(random_values(picture_elements(of, count), 2)),
        diff_logits(random_values(logits_elements(of, count), 3)),
        logits(diff_logits.size()) {}

  std::vector<double> pictures_at(std::int64_t begin, std::int64_t count) const {
    const std::int64_t one = picture_elements(network, 1);
    return {values.begin() + begin * one, values.begin() + (begin + count) * one};
  }

  /// Calls visit(place in the logits of all pictures, place in those of the part).
  template <typename Visit>
  void for_each_logit(std::int64_t begin, std::int64_t count, Visit visit) const {
    const std::int64_t row = network.num_classes;
    for (std::int64_t output = 0; output < std::ssize(network.outputs); ++output) {
      for (std::int64_t i = 0; i < count * row; ++i) {
        visit(static_cast<std::size_t>((output * pictures + begin) * row + i),
              static_cast<std::size_t>(output * count * row + i));
      }
    }
  }

  const NetworkSpec& network;
  std::int64_t pictures;
  std::vector<double> values, diff_logits;
  std::vector<float> logits;
};

/// One rank with its graphs.
class Rank {
 public:
  Rank(const NetworkSpec& network, CompileOptions options, const Rounds& rounds, std::size_t rank)
      : store_(std::make_unique<ParameterStore>(Graph::plan_parameters(network, options, true))) {
    set_parameters(*store_, random_parameters(network, 1));
    for (const auto& round : rounds) {
      options.batch = std::max<std::int64_t>(round[rank], 1);
      const bool is_new =
          std::ranges::none_of(graphs_, [&](auto& graph) { return graph->graph().options().batch == options.batch; });
      if (is_new) graphs_.push_back(std::make_unique<CompiledNetwork>(network, options, *store_));
    }
  }

  void step(const Rounds& rounds, std::size_t rank, const StatisticsExchange* exchange, Work& work) {
    std::ranges::fill(store_->gradients(), 0.0f);  // ranks without pictures in the first round add to them later
    std::int64_t first = 0;
    for (const auto& round : rounds) {
      const std::int64_t begin = std::accumulate(round.begin(), round.begin() + static_cast<std::ptrdiff_t>(rank), first);
      const PassOptions pass{.first_sample = begin,
                             .is_first_micro_batch = first == 0,
                             .statistics_share = static_cast<float>(total_of(round)) / static_cast<float>(work.pictures),
                             .across_ranks = exchange};
      run(begin, round[rank], pass, work);
      first += total_of(round);
    }
  }

  const ParameterStore& store() const { return *store_; }

 private:
  void run(std::int64_t begin, std::int64_t count, const PassOptions& pass, Work& work) {
    if (count == 0) {
      graphs_.front()->graph().forward_without_pictures(pass);
      graphs_.front()->graph().backward_without_pictures([](LayerIndex) {});
      return;
    }
    CompiledNetwork& graph =
        **std::ranges::find_if(graphs_, [&](auto& candidate) { return candidate->graph().options().batch == count; });
    const std::vector<float> logits = graph.forward(work.pictures_at(begin, count), pass);
    std::vector<double> diff(logits.size());
    work.for_each_logit(begin, count, [&](std::size_t of_all, std::size_t of_part) {
      work.logits[of_all] = logits[of_part];
      diff[of_part] = work.diff_logits[of_all];
    });
    graph.backward(diff);
  }

  std::unique_ptr<ParameterStore> store_;
  std::vector<std::unique_ptr<CompiledNetwork>> graphs_;
};

std::vector<float> statistics_of(const ParameterStore& store) { return {store.statistics().begin(), store.statistics().end()}; }

struct Outcome {
  StepResult step;                             ///< gradients: summed over the ranks
  std::vector<std::vector<float>> statistics;  ///< of every rank
  int broadcasts = 0, sums = 0;
};

Outcome of_one_rank(const NetworkSpec& network, const CompileOptions& options, const Rounds& rounds) {
  Work work(network, total_of(rounds));
  const Rounds alone = on_one_rank(rounds);
  Rank rank(network, options, alone, 0);
  rank.step(alone, 0, nullptr, work);
  return {.step = {.logits = work.logits, .gradients = plain_gradients(rank.store())},
          .statistics = {statistics_of(rank.store())}};
}

Outcome of_ranks(const NetworkSpec& network, const CompileOptions& options, const Rounds& rounds) {
  const std::size_t size = rounds.front().size();
  MeetingRanks meeting(static_cast<int>(size));
  Work work(network, total_of(rounds));
  std::vector<std::unique_ptr<Rank>> ranks;
  for (std::size_t rank = 0; rank < size; ++rank) ranks.push_back(std::make_unique<Rank>(network, options, rounds, rank));
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        omp_set_num_threads(1);
        const StatisticsExchange exchange = meeting.exchange_of(static_cast<int>(rank));
        ranks[rank]->step(rounds, rank, &exchange, work);
      });
    }
  }
  Outcome outcome{.step = {.logits = work.logits, .gradients = plain_gradients(ranks[0]->store())},
                  .broadcasts = meeting.broadcasts(),
                  .sums = meeting.sums()};
  for (std::size_t rank = 1; rank < size; ++rank) {
    for (auto& [name, values] : outcome.step.gradients) {
      std::ranges::transform(values, plain_gradient(ranks[rank]->store(), name), values.begin(), std::plus<>());
    }
  }
  for (const auto& rank : ranks) outcome.statistics.push_back(statistics_of(rank->store()));
  return outcome;
}

std::vector<double> to_doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

double largest_of(const std::vector<float>& values) {
  double largest = 0.0;
  for (const float value : values) largest = std::max(largest, std::abs(static_cast<double>(value)));
  return largest;
}

/// noise: of tensors whose gradient is 0 but for rounding errors, those of biases in front of a batch-norm.
void expect_same(const Outcome& got, const Outcome& want, double tolerance, double noise) {
  expect_close(got.step.logits, to_doubles(want.step.logits), tolerance, "logits");
  for (const auto& [name, gradient] : want.step.gradients) {
    const double largest = largest_of(gradient);
    expect_close(got.step.gradients.at(name), to_doubles(gradient), largest > noise ? tolerance + noise / largest : 2.0, name);
  }
  for (const auto& statistics : got.statistics) {
    EXPECT_EQ(statistics, got.statistics.front()) << "the ranks have the same bits";
    expect_close(statistics, to_doubles(want.statistics.front()), tolerance, "running statistics");
  }
}

/// Of sums of as many terms as there are logits, each below 4, at four standard deviations: as in compiled_network.cpp.
double noise_of(const Outcome& outcome) { return 16.0 * kUlp * std::sqrt(static_cast<double>(outcome.step.logits.size())); }

/// A network that begins as most do: batch-norm, ReLU and max pooling in one.
NetworkSpec pooled_stem() {
  NetworkBuilder net(network_head(3, 13));
  net.append("conv", Convolution{.out_channels = 24, .kernel = 3, .padding = 1});
  net.append("bn", BatchNorm{});
  net.append("relu", Relu{});
  net.append("pool", Pool{.kind = Pool::Kind::max, .kernel = 3, .stride = 2, .padding = 1});
  net.append("last", Convolution{.out_channels = 4, .kernel = 1});
  return finish_with_features(std::move(net));
}

NetworkSpec norms_alone() {
  NetworkBuilder net(network_head(5, 13));
  net.append("bn1", BatchNorm{});
  const LayerIndex first = net.append("relu1", Relu{});
  const LayerIndex second = net.append("bn2", BatchNorm{});
  net.add("add", second, first);
  net.append("relu2", Relu{});
  return finish_with_features(std::move(net));
}

struct Parts {
  std::string name;
  Rounds rounds;
};
void PrintTo(const Parts& parts, std::ostream* out) { *out << parts.name; }

class NormAcrossRanks : public testing::TestWithParam<Parts> {};

// Forward differs where convolutions of other batches round otherwise; statistics do not (Note [Ranks take their moments around
// one origin]). So logits and gradients are as far apart as kDirect allows each of them to be from the truth: below 1e-5.
TEST_P(NormAcrossRanks, EqualsOneGraphWithAllPictures) {
  std::vector<NetworkSpec> networks = small_networks();
  networks.push_back(pooled_stem());
  networks.push_back(norms_alone());
  for (const NetworkSpec& network : networks) {
    SCOPED_TRACE(network.name + " of " + std::to_string(network.nodes.size()) + " nodes from " + network.nodes.front().name);
    const CompileOptions options{.conv_algorithm = ConvAlgorithm::direct};

    const Outcome many = of_ranks(network, options, GetParam().rounds);

    const Outcome one = of_one_rank(network, options, GetParam().rounds);
    expect_same(many, one, 1e-5, noise_of(one));
  }
}

INSTANTIATE_TEST_SUITE_P(Parts, NormAcrossRanks,
                         testing::Values(Parts{"one_rank", {{3}}}, Parts{"even", {{2, 2, 2, 2}}}, Parts{"uneven", {{2, 1}}},
                                         Parts{"without_pictures", {{2, 0, 1}}}, Parts{"rounds", {{2, 1}, {1, 1}}},
                                         Parts{"late", {{1, 1, 0}, {2, 1, 1}}}),
                         [](const auto& parts) { return parts.param.name; });

// Nothing but kernels of our own, which treat every picture alike: only the doubles of the planes are added up in another
// order, and mean and deviation are rounded to f32 after that.
TEST(NormAcrossRanksBits, AreThoseOfOneRankInForward) {
  const NetworkSpec network = norms_alone();
  const Rounds rounds{{3, 2, 0, 3}};

  const Outcome many = of_ranks(network, {}, rounds);

  const Outcome one = of_one_rank(network, {}, rounds);
  EXPECT_EQ(many.step.logits, one.step.logits);
  for (const auto& statistics : many.statistics) EXPECT_EQ(statistics, one.statistics.front());
}

TEST(NormAcrossRanksBits, AreTheSameWhereResultsAreRecomputed) {
  const NetworkSpec network = residual_chain();
  const Rounds rounds{{2, 1}, {1, 1}};

  const Outcome recomputed = of_ranks(network, {.recompute_norm = true}, rounds);

  const Outcome kept = of_ranks(network, {}, rounds);
  EXPECT_EQ(recomputed.step, kept.step);
  EXPECT_EQ(recomputed.statistics, kept.statistics);
  EXPECT_EQ(recomputed.broadcasts, kept.broadcasts);
  EXPECT_EQ(recomputed.sums, kept.sums);
}

// Activations of equal bits but where a convolution rounds f32 otherwise before it rounds to bf16 (2⁻⁹), once in thousands;
// each of those may turn a ReLU's sign, which moves the gradient by a thousandth of its elements' worth.
TEST(NormAcrossRanksBits, DifferLittleInBf16) {
  if (bf16_support() == Bf16Support::none) GTEST_SKIP() << "this CPU has no AVX-512, which oneDNN's bf16 needs";
  for (const NetworkSpec& network : {residual_chain(), pooled_stem(), dense_block()}) {
    const CompileOptions options{.precision = Precision::bf16, .conv_algorithm = ConvAlgorithm::direct};
    const Rounds rounds{{2, 0, 1}};

    const Outcome many = of_ranks(network, options, rounds);

    const Outcome one = of_one_rank(network, options, rounds);
    expect_same(many, one, 0.02, 1e-3);
  }
}

TEST(NormAcrossRanksMessages, AreOneBroadcastAndTwoSumsForEveryNorm) {
  const NetworkSpec network = norms_alone();

  const Outcome outcome = of_ranks(network, {}, {{1, 2}});

  EXPECT_EQ(outcome.broadcasts, 2);
  EXPECT_EQ(outcome.sums, 4);
}

// Mean 1000, deviation 1, and pictures of two ranks apart by as much: see BatchNormPrecision.
TEST(NormAcrossRanksPrecision, KeepsTheVarianceOfPicturesFarFromZero) {
  NetworkBuilder net(network_head(2, 8));
  net.append("bn", BatchNorm{});
  const NetworkSpec network = finish_with_features(std::move(net));
  const NamedTensors parameters = random_parameters(network, 1);
  std::vector<double> pictures = random_values(picture_elements(network, 4), 2);
  for (double& pixel : pictures) pixel = static_cast<double>(static_cast<float>(1000.0 + pixel));
  const std::vector<double> halves[]{{pictures.begin(), pictures.begin() + 256}, {pictures.begin() + 256, pictures.end()}};
  MeetingRanks meeting(2);
  std::vector<std::unique_ptr<CompiledNetwork>> ranks;
  for (int rank = 0; rank < 2; ++rank) {
    ranks.push_back(std::make_unique<CompiledNetwork>(network, CompileOptions{.batch = 2}, parameters));
  }

  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < 2; ++rank) {
      threads.emplace_back([&, rank] {
        const StatisticsExchange exchange = meeting.exchange_of(rank);
        (void)ranks[static_cast<std::size_t>(rank)]->forward(halves[rank], {.across_ranks = &exchange});
      });
    }
  }

  const ReferenceRun reference = run_reference(network, parameters, pictures, 4, true);
  const std::vector<float> variance = plain_values(ranks[1]->store(), "bn.running_var");
  for (std::size_t c = 0; c < 2; ++c) {
    const double expected = 0.9 * parameters.at("bn.running_var")[c] + 0.1 * reference.moments.at("bn").unbiased_variance[c];
    EXPECT_NEAR(static_cast<double>(variance[c]), expected, 16 * kUlp * expected);
  }
}

}  // namespace
}  // namespace dtrain
