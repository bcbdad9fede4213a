// The same command gives the same bits, and so do commands that differ only in how the work is carried out.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <utility>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// What a run leaves that must not depend on how it was carried out.
struct Result {
  std::string fingerprint;
  std::string weights;         ///< last.safetensors, byte by byte
  std::string average;         ///< average.safetensors; empty: there is none
  std::vector<double> losses;  ///< of every step and every evaluation

  bool operator==(const Result&) const = default;
};

/// Seven steps: one epoch, an evaluation, and two steps more.
Result result_of(int ranks, const std::vector<std::string>& more) {
  const fs::path out = new_path("run");
  std::vector<std::string> options{"--steps", "7"};
  options.insert(options.end(), more.begin(), more.end());
  if (std::ranges::find(more, "--global-batch") == more.end()) options.insert(options.end(), {"--global-batch", "16"});
  const Outcome outcome = run({.ranks = ranks, .arguments = training_into(out, options)});
  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  Result result{.fingerprint = fingerprint(out / "report.json"),
                .weights = read_text(out / "last.safetensors"),
                .average = read_text(out / "average.safetensors"),
                .losses = {}};
  for (const Json& line : metrics_lines(out / "metrics.jsonl", "loss")) result.losses.push_back(line.at("loss"));
  for (const Json& line : metrics_lines(out / "metrics.jsonl", "val_loss")) result.losses.push_back(line.at("val_loss"));
  EXPECT_EQ(result.losses.size(), 9U) << "seven steps, evaluated after the first epoch and at the end";
  return result;
}

/// The same, made once for all tests that compare with it.
Result known(int ranks, const std::vector<std::string>& more) {
  static std::map<std::pair<int, std::vector<std::string>>, Result> results;
  const auto place = results.find({ranks, more});
  return place != results.end() ? place->second : results[{ranks, more}] = result_of(ranks, more);
}

/// The sum of two floats does not depend on their order, so on two ranks every algorithm and bucket size gives these bits.
Result of_two_ranks() { return known(2, {"--allreduce", "shm"}); }

/// EXPECT_EQ would print megabytes of weights.
void expect_equal(const Result& a, const Result& b) {
  EXPECT_EQ(a.fingerprint, b.fingerprint);
  EXPECT_EQ(a.losses, b.losses);
  EXPECT_TRUE(a.weights == b.weights) << "last.safetensors differs";
  EXPECT_TRUE(a.average == b.average) << "average.safetensors differs";
}

TEST(Reproducibility, TheSameCommandTwiceGivesTheSameBitsOnOneRank) { expect_equal(result_of(1, {}), known(1, {})); }

TEST(Reproducibility, TheSameCommandTwiceGivesTheSameBitsOnTwoRanksThroughSharedMemory) {
  expect_equal(result_of(2, {"--allreduce", "shm"}), of_two_ranks());
}

TEST(Reproducibility, TheSameCommandTwiceGivesTheSameBitsOnThreeRanksAroundTheRing) {
  expect_equal(result_of(3, {"--allreduce", "ring"}), result_of(3, {"--allreduce", "ring"}));
}

TEST(Reproducibility, TheSameCommandTwiceGivesTheSameBitsInBf16) {
  if (!computes_natively("bf16")) GTEST_SKIP() << "this CPU does not compute bf16";
  const Result once = result_of(2, {"--precision", "bf16"});

  expect_equal(result_of(2, {"--precision", "bf16"}), once);
  EXPECT_NE(once.fingerprint, of_two_ranks().fingerprint) << "which are the bits of fp32";
}

TEST(Reproducibility, AnotherSeedGivesOtherWeights) {
  const Result one = known(1, {});
  const Result two = result_of(1, {"--seed", "2"});

  EXPECT_NE(one.fingerprint, two.fingerprint);
  EXPECT_NE(one.losses, two.losses);
}

TEST(Reproducibility, OneRankWithoutMpirunIsOneRankUnderIt) { expect_equal(result_of(0, {}), known(1, {})); }

// Small buckets: 1.03 MiB of gradients travel in eleven of them.
TEST(Reproducibility, OverlappingTheExchangeWithBackwardOrForwardChangesNoBit) {
  for (const std::string algorithm : {"shm", "ring", "mpi"}) {
    SCOPED_TRACE(algorithm);
    for (const std::string overlap : {"on", "off", "backward", "forward"}) {
      expect_equal(result_of(2, {"--allreduce", algorithm, "--fusion-mb", "0.1", "--overlap", overlap}), of_two_ranks());
    }
  }
}

// Shares of nine and eight samples, in micro-batches, and an epoch that ends with two samples for three ranks.
TEST(Reproducibility, OverlappingForwardChangesNoBitWhereRanksHaveUnevenAndEmptyShares) {
  const auto with = [](const std::string& overlap) {
    return result_of(3, {"--global-batch", "26", "--local-batch", "5", "--allreduce", "hierarchical", "--ranks-per-node", "2",
                         "--fusion-mb", "0.1", "--overlap", overlap});
  };

  expect_equal(with("forward"), with("off"));
}

// Three ranks of one node, and two nodes of which one has a rank alone; a momentum that every step needs.
TEST(Reproducibility, SharingTheUpdateAmongTheRanksOfANodeChangesNoBit) {
  for (const std::vector<std::string>& nodes : {std::vector<std::string>{"--allreduce", "shm"},
                                                {"--allreduce", "hierarchical", "--ranks-per-node", "2"},
                                                {"--allreduce", "ring", "--ranks-per-node", "2"}}) {
    SCOPED_TRACE(nodes[1]);
    const auto with = [&](const std::string& shared, const std::string& overlap) {
      std::vector<std::string> options{"--fusion-mb",     "0.1",  "--global-batch", "26",
                                       "--shared-update", shared, "--overlap",      overlap};
      options.insert(options.end(), nodes.begin(), nodes.end());
      return result_of(3, options);
    };
    const Result apart = with("off", "backward");

    for (const std::string overlap : {"off", "backward", "forward"}) expect_equal(with("on", overlap), apart);
  }
}

// Norms are of whole slots and of all gradients, whoever has summed which part of them; weights are averaged by whoever has
// updated them. On two ranks buckets change no bit.
TEST(Reproducibility, NormsHaveTheSameBitsWhoeverMeasuresThem) {
  const auto of_three = [](const std::string& shared) {
    return result_of(3, {"--optimizer", "lars", "--clip-norm", "1", "--ema", "0.9", "--global-batch", "26", "--allreduce",
                         "hierarchical", "--ranks-per-node", "2", "--fusion-mb", "0.1", "--shared-update", shared});
  };
  expect_equal(of_three("on"), of_three("off"));

  const auto of_two = [](const std::string& shared, const std::string& fusion_mb, const std::string& overlap) {
    return result_of(2, {"--optimizer", "lamb", "--clip-norm", "1", "--ema", "0.9", "--allreduce", "shm", "--shared-update",
                         shared, "--fusion-mb", fusion_mb, "--overlap", overlap});
  };
  const Result apart = of_two("off", "4", "off");
  expect_equal(of_two("on", "0.1", "on"), apart);
  expect_equal(of_two("on", "0.03", "backward"), apart);
}

TEST(Reproducibility, AveragingTheWeightsChangesNoBitOfThem) {
  const Result averaged = result_of(2, {"--allreduce", "shm", "--ema", "0.75"});

  EXPECT_TRUE(averaged.weights == of_two_ranks().weights) << "last.safetensors differs";
  EXPECT_FALSE(averaged.average.empty() || averaged.average == averaged.weights);
}

// Gradients are rounded on the wire; the loss, its samples and requests to stop, which travel with them, are not: the first
// step's loss, of the same weights, is that of an fp32 wire, but for the order of three addends (bf16 would be off by 2⁻⁹ of
// it).
TEST(Reproducibility, ABf16WireRoundsGradientsAloneAndGivesTheSameBitsTwice) {
  for (const std::string algorithm : {"ring", "hierarchical"}) {
    SCOPED_TRACE(algorithm);
    const auto with = [&](const std::string& wire) {
      return result_of(3, {"--global-batch", "26", "--allreduce", algorithm, "--ranks-per-node", "2", "--wire-dtype", wire});
    };
    const Result rounded = with("bf16");
    const Result exact = with("fp32");

    EXPECT_NEAR(rounded.losses.front(), exact.losses.front(), 1e-6 * exact.losses.front());
    EXPECT_NE(rounded.fingerprint, exact.fingerprint);
    for (std::size_t step = 0; step < exact.losses.size(); ++step) {
      EXPECT_NEAR(rounded.losses[step], exact.losses[step], 0.05 * exact.losses[step]) << "step " << step + 1;
    }
    expect_equal(with("bf16"), rounded);
  }
}

TEST(Reproducibility, OnTwoRanksAsTwoNodesGiveTheBitsOfOneNode) {
  expect_equal(result_of(2, {"--allreduce", "ring", "--ranks-per-node", "1"}), of_two_ranks());
  expect_equal(result_of(2, {"--allreduce", "auto", "--ranks-per-node", "1"}), of_two_ranks());
}

TEST(Reproducibility, WithoutExchangeTheRanksTrainApart) {
  const fs::path out = new_path("apart");
  const Outcome apart =
      run({.ranks = 2, .arguments = training_into(out, {"--global-batch", "16", "--steps", "7", "--allreduce", "none"})});

  ASSERT_EQ(apart.exit_code, 0) << apart;
  EXPECT_TRUE(apart.says("--allreduce none")) << apart;
  EXPECT_NE(fingerprint(out / "report.json"), of_two_ranks().fingerprint);
}

TEST(Reproducibility, TheNumberOfLoaderThreadsChangesNoBit) {
  for (const std::string workers : {"1", "3"}) expect_equal(result_of(1, {"--workers", workers}), known(1, {}));
}

}  // namespace
}  // namespace dtrain
