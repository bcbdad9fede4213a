// What buckets are called in reports.
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "trainer/bucket_names.hpp"

namespace dtrain {
namespace {

/// Slots as backward finishes them: fc first.
std::vector<Slot> slots() {
  std::vector<Slot> all;
  const auto add = [&](const char* name, std::int64_t offset, std::int64_t size) {
    all.push_back({.spec = {.name = name}, .offset = offset, .size = size});
  };
  add("fc.weight", 0, 1000);
  add("fc.bias", 1008, 10);
  add("layer4.2.conv3.weight", 1024, 2000);
  add("conv1.weight", 3024, 500);
  return all;
}

TEST(BucketNames, SayNumberLayersBytesAndAlgorithm) {
  const std::vector<std::string> names =
      bucket_names({{0, 1024}, {1024, 2048}, {2048, 3536}}, slots(), AllReduceAlgorithm::ring);

  EXPECT_EQ(names, (std::vector<std::string>{
                       "bucket 1 of 3 (fc, 4096 bytes) by ring",
                       "bucket 2 of 3 (layer4.2.conv3, 4096 bytes) by ring",
                       "bucket 3 of 3 (conv1 … layer4.2.conv3 and the step's sums, 5952 bytes) by ring",
                   }));
}

TEST(BucketNames, ASlotThatIsCutIsInBothBuckets) {
  const std::vector<std::string> names = bucket_names({{0, 500}, {500, 1100}}, slots(), AllReduceAlgorithm::shm);

  EXPECT_EQ(names[0], "bucket 1 of 2 (fc, 2000 bytes) by shm");
  EXPECT_EQ(names[1], "bucket 2 of 2 (layer4.2.conv3 … fc, 2400 bytes) by shm");
}

TEST(BucketNames, NameTheAlgorithmOfTheirSize) {
  const AlgorithmTable table = parse_algorithm_table("halving-doubling:0-4K;hierarchical:4K-max");

  const std::vector<std::string> names = bucket_names({{0, 16}, {16, 3536}}, slots(), table);

  EXPECT_EQ(names[0], "bucket 1 of 2 (fc, 64 bytes) by halving-doubling");
  EXPECT_TRUE(names[1].ends_with(" by hierarchical")) << names[1];
}

TEST(BucketNames, ABucketOfStepSumsAloneSaysSo) {
  EXPECT_EQ(bucket_names({{3524, 3540}}, slots(), AllReduceAlgorithm::mpi).front(),
            "bucket 1 of 1 (the step's sums, 64 bytes) by mpi");
}

}  // namespace
}  // namespace dtrain
