// Which names in a file stand for a network's.
#include <gtest/gtest.h>

#include "dtrain/error.hpp"
#include "src/tensor_renaming.hpp"

namespace dtrain {
namespace {

using Names = std::vector<std::string>;

const NameSet kNetwork{"features.0.weight", "features.0.bias", "fc.weight", "fc.bias"};

std::string fault(const Names& file, const NameSet& network = kNetwork) {
  try {
    (void)match_names(file, network);
  } catch (const DataError& error) {
    return error.what();
  }
  return "no error";
}

TEST(MatchNames, LeavesNamesThatFitAsTheyAre) {
  const Names names{"features.0.weight", "features.0.bias", "fc.weight",
                    "fc.bias",           "module.other",    "optimizer.velocity.fc.bias"};

  const Renaming renaming = match_names(names, kNetwork);

  EXPECT_EQ(renaming.names, names);
  EXPECT_TRUE(renaming.said.empty());
}

TEST(MatchNames, TakesOffWrappersAroundAPartOfTheNetwork) {
  const Renaming renaming =
      match_names({"features.module.0.weight", "features.module.0.bias", "_orig_mod.fc.weight", "_orig_mod.fc.bias"}, kNetwork);

  EXPECT_EQ(renaming.names, (Names{"features.0.weight", "features.0.bias", "fc.weight", "fc.bias"}));
  EXPECT_EQ(renaming.said, Names{"\"module.\" and \"_orig_mod.\" taken off 4 names"});
}

TEST(MatchNames, TakesOffWrappersInsideAPrefixOfTheProgramsOwn) {
  const Renaming renaming =
      match_names({"classifier_net.module.features.0.weight", "classifier_net.module.features.0.bias",
                   "classifier_net.module.fc.weight", "classifier_net.module.fc.bias", "criterion.weight"},
                  kNetwork);

  EXPECT_EQ(renaming.names.front(), "features.0.weight");
  EXPECT_EQ(renaming.names.back(), "criterion.weight");
}

TEST(MatchNames, LeavesAPrefixThatLeadsToLittleOfTheNetwork) {
  const Names names{"student.fc.weight", "other.weight"};

  EXPECT_EQ(match_names(names, kNetwork).names, names);
}

TEST(MatchNames, RefusesTwoSetsOfWeights) {
  const Names twice{"student.features.0.weight", "student.fc.weight", "student.fc.bias",
                    "teacher.features.0.weight", "teacher.fc.weight", "teacher.fc.bias"};
  EXPECT_NE(fault(twice).find("\"student.*\" and \"teacher.*\""), std::string::npos) << fault(twice);

  const Names both{"features.0.weight",        "features.0.bias",        "fc.weight",        "fc.bias",
                   "module.features.0.weight", "module.features.0.bias", "module.fc.weight", "module.fc.bias"};
  EXPECT_NE(fault(both).find("\"*\" and \"module.*\""), std::string::npos) << fault(both);
}

TEST(MatchNames, RefusesTwoTensorsThatWouldBecomeOne) {
  const std::string text =
      fault({"module.features.0.weight", "module.features.0.bias", "module.fc.weight", "module.fc.bias", "fc.bias"});

  EXPECT_NE(text.find("one tensor for fc.bias"), std::string::npos) << text;
  EXPECT_NE(text.find("module.fc.bias and fc.bias"), std::string::npos) << text;
}

TEST(MatchNames, JoinsWhatDenseNetsPublishedFilesHaveApart) {
  const NameSet network{"features.denseblock1.denselayer12.norm1.weight", "features.denseblock1.denselayer12.conv2.weight",
                        "features.norm0.weight", "classifier.weight"};

  const Renaming renaming =
      match_names({"features.denseblock1.denselayer12.norm.1.weight", "features.denseblock1.denselayer12.conv.2.weight",
                   "features.norm0.weight", "classifier.weight"},
                  network);

  EXPECT_EQ(NameSet(renaming.names.begin(), renaming.names.end()), network);
  EXPECT_EQ(renaming.said, Names{"2 old names of DenseNet (\"norm.1\") understood"});
}

TEST(GroupNames, AreAsFewAsSayTheSame) {
  EXPECT_EQ(group_names({"layer1.2.conv1.weight", "layer1.2.bn1.weight", "layer2.conv.weight", "fc.bias"},
                        {"layer1.1.conv1.weight", "fc.weight"}),
            (Names{"layer1.2.*", "layer2.conv.weight", "fc.bias"}));
  EXPECT_EQ(group_names({"a.b.c", "a.b.d", "e"}, {}), (Names{"a.*", "e"}));
  EXPECT_TRUE(group_names({}, {"a"}).empty());
}

}  // namespace
}  // namespace dtrain
