// The version names the sources: equal ones alike, others differently.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <string>

#include "trainer/version.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// A directory of sources that may become a repository.
class Version : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(sources_); }
  void TearDown() override { fs::remove_all(root_); }

  void write(const std::string& text) { std::ofstream(sources_ / "main.cpp") << text; }
  void commit() {
    const std::string git = "git -C " + sources_.string() + " -c user.name=a -c user.email=a@b ";
    ASSERT_EQ(std::system((git + "init -q && " + git + "add -A && " + git + "commit -q -m now").c_str()), 0);
  }
  /// What the build would compile in, without its quotes.
  std::string text(const fs::path& of) {
    const fs::path file = root_ / "version_text.inc";
    std::string command = WRITE_VERSION;
    command.insert(command.find(" -P "), " -DSOURCES=" + of.string() + " -DOUTPUT=" + file.string());
    EXPECT_EQ(std::system(command.c_str()), 0) << command;
    std::ifstream stream(file);
    const std::string quoted{std::istreambuf_iterator<char>(stream), {}};
    return quoted.size() > 3 ? quoted.substr(1, quoted.size() - 3) : quoted;
  }

  fs::path root_ = fs::path(testing::TempDir()) / ("version_" + std::to_string(getpid()));
  fs::path sources_ = root_ / "sources";
};

bool has_git() { return std::system("git --version >/dev/null 2>&1") == 0; }

TEST_F(Version, IsTheReleaseWhereThereIsNoRepository) {
  write("one");

  EXPECT_EQ(text(sources_), "1.2.3");
}

TEST_F(Version, NamesTheCommitAndWhetherSourcesDifferFromIt) {
  if (!has_git()) GTEST_SKIP() << "no git";
  write("one");
  commit();
  const std::string clean = text(sources_);
  write("two");
  const std::string two = text(sources_);
  write("three");
  const std::string three = text(sources_);
  write("two");

  EXPECT_TRUE(std::regex_match(clean, std::regex("1\\.2\\.3\\+[0-9a-f]{12}"))) << clean;
  EXPECT_TRUE(std::regex_match(two, std::regex("1\\.2\\.3\\+[0-9a-f]{12}\\.dirty\\.[0-9a-f]{8}"))) << two;
  EXPECT_TRUE(two.starts_with(clean)) << clean << " and " << two;
  EXPECT_NE(two, three);
  EXPECT_EQ(text(sources_), two);
}

TEST_F(Version, IsTheReleaseInsideAnotherProjectsRepository) {
  if (!has_git()) GTEST_SKIP() << "no git";
  fs::create_directories(sources_ / "vendor/dtrain");
  write("one");
  commit();

  EXPECT_EQ(text(sources_ / "vendor/dtrain"), "1.2.3");
}

TEST_F(Version, OfThisBuildBeginsWithItsRelease) {
  EXPECT_TRUE(std::regex_match(version_text(), std::regex("[0-9]+\\.[0-9]+\\.[0-9]+(\\+[0-9a-f.dirty]+)?"))) << version_text();
}

}  // namespace
}  // namespace dtrain
