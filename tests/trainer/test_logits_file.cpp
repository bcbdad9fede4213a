// The file of logits, from all ranks, in pieces that are far smaller than a row.
#include <gtest/gtest.h>

#include <unistd.h>

#include <filesystem>

#include "dtrain/checkpoint.hpp"
#include "schedules/shards.hpp"
#include "trainer/logits_file.hpp"

namespace dtrain {
namespace {

TEST(LogitsFile, HasARowForEachReadableImageInTheOrderOfTheDataSet) {
  const Communicator communicator;
  const auto path = std::filesystem::temp_directory_path() / ("dtrain_logits_" + communicator.broadcast_text(std::to_string(getpid())));
  const std::int64_t samples = 11;
  const DamagedImages left_out{.samples = {2, 9}};
  const Range mine = split_range({0, samples}, communicator.size(), communicator.rank());
  LogitsFile file(mine.size(), 3);
  for (std::int64_t sample = mine.begin; sample < mine.end; ++sample) {
    if (sample == 2 || sample == 9) continue;
    const std::vector<float> row{static_cast<float>(sample), 0.5f, -1.0f};
    file.add({.logits = row, .samples = {&sample, 1}});
  }

  for (const std::size_t piece_bytes : {std::size_t{5}, kPieceBytes}) {
    file.write(path, "lenet5", left_out, samples - 2, communicator, piece_bytes);

    if (communicator.is_root()) {
      const TensorFile written = read_tensor_file(path);  // checks the checksum
      EXPECT_EQ(written.find("logits")->shape, (Shape{9, 3}));
      EXPECT_EQ(written.find("samples")->i64, (std::vector<std::int64_t>{0, 1, 3, 4, 5, 6, 7, 8, 10}));
      for (std::size_t row = 0; row < 9; ++row) {
        EXPECT_EQ(written.find("logits")->f32[3 * row], static_cast<float>(written.find("samples")->i64[row]));
      }
      EXPECT_EQ(written.metadata.at("dtrain.left_out"), "2 9");
      std::filesystem::remove(path);
    }
    communicator.barrier();
  }
}

}  // namespace
}  // namespace dtrain
