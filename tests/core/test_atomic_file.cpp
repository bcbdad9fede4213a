// Partial files: nobody can prepare a trap under their names, and those of the dead alone are leftovers.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>
#include <span>

#include "dtrain/atomic_file.hpp"
#include "dtrain/error.hpp"
#include "fixtures.hpp"

namespace dtrain::test {
namespace {

namespace fs = std::filesystem;

void write_text(AtomicFile& file, const std::string& text) { file.write(std::as_bytes(std::span(text))); }

fs::path only_file_in(const TemporaryDirectory& directory) { return directory.path() / directory.names().at(0); }

TEST(AtomicFile, AppearsWhenItIsCommitted) {
  const TemporaryDirectory directory;
  write_bytes(directory.path() / "a", "old");
  {
    AtomicFile file(directory.path() / "a");
    write_text(file, "new");
    EXPECT_EQ(read_bytes(directory.path() / "a"), "old");
    file.commit();
  }
  { AtomicFile given_up(directory.path() / "a"); }

  EXPECT_EQ(read_bytes(directory.path() / "a"), "new");
  EXPECT_EQ(directory.names(), std::vector<std::string>{"a"});
}

TEST(AtomicFile, FollowsNoLinkThatStandsUnderItsName) {
  const TemporaryDirectory directory;
  write_bytes(directory.path() / "victim", "precious");
  fs::create_symlink("victim", directory.path() / ("a.partial-" + std::to_string(getpid())));
  fs::create_symlink("victim", directory.path() / "a");
  AtomicFile file(directory.path() / "a");
  write_text(file, "new");
  file.commit();

  EXPECT_EQ(read_bytes(directory.path() / "victim"), "precious");
  EXPECT_TRUE(fs::is_regular_file(fs::symlink_status(directory.path() / "a")));
}

TEST(AtomicFile, TakesANameThatNobodyForesees) {
  const TemporaryDirectory directory;
  std::set<std::string> names;
  for (int k = 0; k < 20; ++k) {
    const AtomicFile file(directory.path() / "a");
    names.insert(only_file_in(directory).string());
  }

  EXPECT_EQ(names.size(), 20U);
}

TEST(PartialFile, IsKnownByItsName) {
  EXPECT_EQ(destination_of("last.safetensors.partial-17"), "last.safetensors");
  EXPECT_EQ(destination_of("last.safetensors.partial-17-0123456789abcdef"), "last.safetensors");
  for (const char* name : {"a.partial-", "a.partial-x", "a.partial-17-", "a.partial-17-abc", "a.partial-17-0123456789abcdeg",
                           "a", ".partial-17", "a.partial-17.bak"}) {
    EXPECT_EQ(destination_of(name), std::nullopt) << name;
  }
}

TEST(PartialFile, OfALivingProcessStaysAndOfADeadOneGoes) {
  const TemporaryDirectory directory;
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    const AtomicFile file(directory.path() / "a");
    (void)!write(ready[1], "x", 1);
    pause();
  }
  char letter = 0;
  ASSERT_EQ(read(ready[0], &letter, 1), 1);
  const fs::path partial = only_file_in(directory);

  EXPECT_EQ(remove_leftover(partial), LeftoverRemoval::in_use);
  EXPECT_TRUE(fs::exists(partial));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(remove_leftover(partial), LeftoverRemoval::removed);
  EXPECT_FALSE(fs::exists(partial));
}

TEST(PartialFile, ThatIsALinkOrADirectoryIsNotRemoved) {
  const TemporaryDirectory directory;
  write_bytes(directory.path() / "victim", "precious");
  fs::create_symlink("victim", directory.path() / "a.partial-1");
  fs::create_directory(directory.path() / "b.partial-1");

  EXPECT_EQ(remove_leftover(directory.path() / "a.partial-1"), LeftoverRemoval::refused);
  EXPECT_EQ(remove_leftover(directory.path() / "b.partial-1"), LeftoverRemoval::refused);
  EXPECT_EQ(directory.names().size(), 3U);
}

}  // namespace
}  // namespace dtrain::test
