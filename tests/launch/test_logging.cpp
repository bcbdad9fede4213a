// What reaches the log file and what does not.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <fstream>
#include <iterator>

#include "dtrain/error.hpp"
#include "launch/logging.hpp"

namespace dtrain {
namespace {

class Logging : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / "dtrain_logging";
    std::filesystem::remove_all(directory_);
  }
  void TearDown() override {
    start_logging({});
    std::filesystem::remove_all(directory_);
  }
  std::filesystem::path file() const { return directory_ / "run" / "log.txt"; }
  std::string contents() const {
    std::ifstream stream(file());
    return {std::istreambuf_iterator<char>(stream), {}};
  }
  std::filesystem::path directory_;
};

TEST_F(Logging, RankZeroWritesEveryLineToTheFileAtOnce) {
  start_logging({.rank = 0, .host = "node", .file = file()});
  spdlog::info("loss 0.5 at 100%");
  spdlog::warn("cores stay idle");

  EXPECT_NE(contents().find("loss 0.5 at 100%\n"), std::string::npos) << contents();
  EXPECT_NE(contents().find("warning: cores stay idle\n"), std::string::npos) << contents();
}

TEST_F(Logging, AResumedRunAppends) {
  start_logging({.rank = 0, .host = "node", .file = file()});
  spdlog::info("first");
  start_logging({.rank = 0, .host = "node", .file = file()});
  spdlog::info("second");

  EXPECT_LT(contents().find("first"), contents().find("second"));
  EXPECT_NE(contents().find("second"), std::string::npos);
}

TEST_F(Logging, OtherRanksWriteNoFileAndOnlyWarningsWithTheirNameAndHost) {
  testing::internal::CaptureStderr();
  start_logging({.rank = 3, .host = "node%7", .file = file()});
  spdlog::info("nothing to see");
  spdlog::warn("disk is slow");
  const std::string said = testing::internal::GetCapturedStderr();

  EXPECT_FALSE(std::filesystem::exists(file()));
  EXPECT_EQ(said.find("nothing to see"), std::string::npos) << said;
  EXPECT_NE(said.find("warning: [rank 3 on node%7] disk is slow"), std::string::npos) << said;
}

TEST_F(Logging, RankZeroSpeaksPlainLines) {
  testing::internal::CaptureStderr();
  start_logging({.rank = 0, .host = "node"});
  spdlog::info("epoch 1");
  spdlog::error("no space left");

  EXPECT_EQ(testing::internal::GetCapturedStderr(), "epoch 1\nerror: no space left\n");
}

TEST_F(Logging, ShowsWhatFilesAreCalledAndDoesNotObeyIt) {
  testing::internal::CaptureStderr();
  start_logging({.rank = 0, .host = "node", .file = file()});
  spdlog::warn("unreadable: {}; for example\n  {}", "bad\x1b[31m\r\nerror: [rank 7] forged.jpg", "b.jpg");
  const std::string expected = "warning: unreadable: bad\\x1b[31m\\x0d\\x0aerror: [rank 7] forged.jpg; for example\n  b.jpg\n";

  EXPECT_EQ(testing::internal::GetCapturedStderr(), expected);
  EXPECT_TRUE(contents().ends_with(expected)) << contents();
}

TEST_F(Logging, WritesThroughNoLink) {
  std::filesystem::create_directories(file().parent_path());
  std::ofstream(directory_ / "victim") << "precious";
  std::filesystem::create_symlink(directory_ / "victim", file());

  EXPECT_THROW(start_logging({.rank = 0, .host = "node", .file = file()}), DataError);

  std::ifstream victim(directory_ / "victim");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(victim), {}), "precious");
}

TEST_F(Logging, AFileThatCannotBeWrittenIsAnErrorOfTheDisk) {
  try {
    start_logging({.rank = 0, .host = "node", .file = "/proc/nowhere/log.txt"});
    FAIL() << "expected a DataError";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("/proc/nowhere/log.txt"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("--out"), std::string::npos);
  }
}

}  // namespace
}  // namespace dtrain
