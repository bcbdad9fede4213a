// What a run that goes on has in common with the one that was saved, in people's words.
#include <gtest/gtest.h>

#include "trainer/recipe_comparison.hpp"
#include "trainer/surroundings.hpp"

namespace dtrain {
namespace {

using Words = std::vector<std::string>;

/// A recipe with all entries that are always there.
const std::string kRecipe = "model=resnet20\ndropout=0.5\ndata=names:a\nthreads=1\nnodes=any\ninstructions=AVX2\nonednn=3.6\n";

std::string differences(const std::string& now, const std::string& saved) {
  const RecipeComparison comparison = compare_recipes(kRecipe + now, kRecipe + saved);
  EXPECT_EQ(comparison.unknown, Words{});
  return to_text(comparison.different);
}

TEST(RecipeComparison, FindsNothingInEqualRecipes) { EXPECT_EQ(differences("seed=1\n", "seed=1\n"), ""); }

TEST(RecipeComparison, NamesBothValues) {
  EXPECT_EQ(differences("threads=2\nseed=1\n", "threads=1\nseed=7\n"), "seed (1, before: 7), threads a rank (2, before: 1)");
}

TEST(RecipeComparison, TakesEntriesThatAreLeftOutForTheirDefault) {
  EXPECT_EQ(differences("bn=sync\n", ""), "bn (sync, before: the default)");
  EXPECT_EQ(differences("", "bn=sync\n"), "bn (the default, before: sync)");
}

TEST(RecipeComparison, ShortensNumbersUnlessTheyWouldLookTheSame) {
  EXPECT_EQ(differences("lr=0.10000000000000001\n", "lr=0.20000000000000001\n"), "lr (0.1, before: 0.2)");
  EXPECT_EQ(differences("lr=0.10000000000000001\n", "lr=0.10000000000000003\n"),
            "lr (0.10000000000000001, before: 0.10000000000000003)");
}

TEST(RecipeComparison, LetsARunBecomeLongerWhereNoRateDependsOnItsLength) {
  const std::string constant = "schedule=constant\ntotal_steps=", curve = "weight_decay_schedule=inverse-rate:most=4\n";

  EXPECT_EQ(differences(constant + "4\n", constant + "2\n"), "");
  EXPECT_EQ(differences("schedule=cosine\ntotal_steps=4\n", "schedule=cosine\ntotal_steps=2\n"),
            "number of steps (4, before: 2)");
  EXPECT_EQ(differences(constant + "4\n" + curve, constant + "2\n" + curve), "number of steps (4, before: 2)");
}

TEST(RecipeComparison, DoesNotKnowWhatOlderVersionsDidNotSave) {
  const RecipeComparison comparison = compare_recipes(kRecipe + "bn=sync\n", "model=resnet20\n");

  EXPECT_EQ(to_text(comparison.different), "bn (sync, before: the default)");
  EXPECT_EQ(comparison.unknown, (Words{"data", "dropout", "instructions", "nodes", "onednn", "threads"}));
  EXPECT_EQ(entry_list({"dropout", "threads"}), "dropout, threads a rank");
}

TEST(Surroundings, OfRanksAreOneValueOrRuns) {
  EXPECT_EQ(value_of_ranks({"2"}), "2");
  EXPECT_EQ(value_of_ranks({"2", "2", "2"}), "2");
  EXPECT_EQ(value_of_ranks({"2", "2", "1", "2"}), "2 ×2, 1 ×1, 2 ×1");
}

}  // namespace
}  // namespace dtrain
