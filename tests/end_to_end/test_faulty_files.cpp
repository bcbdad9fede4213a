// Checkpoints and weights that are damaged or foreign, and disks that cannot take any: refused at once, and nothing is lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tests/end_to_end/running.hpp"
#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// A finished run with checkpoints after steps 2 and 4.
const fs::path& finished_run() {
  static const fs::path out = [] {
    const fs::path made = new_path("finished");
    const Outcome outcome =
        run({.arguments = training_into(made, {"--global-batch", "16", "--steps", "4", "--checkpoint-every", "2"})});
    if (outcome.exit_code != 0) throw std::runtime_error("training failed: " + outcome.errors);
    return made;
  }();
  return out;
}

fs::path finished_checkpoint(std::int64_t step) { return checkpoint(finished_run(), step); }

fs::path copy_of(const fs::path& file) {
  const fs::path copy = new_path(file.filename().string());
  fs::copy_file(file, copy);
  return copy;
}

std::vector<std::string> with(const std::string& option, const fs::path& file, const std::string& model = "resnet20") {
  return {"--model",        model, "--threads", "1", "--data", demo_data().string(),
          "--global-batch", "16",  "--steps",   "4", option,   file.string()};
}

TEST(FaultyCheckpoint, TruncatedIsRefused) {
  for (const double share : {0.0, 1e-6, 0.3, 0.999}) {
    SCOPED_TRACE(share);
    const fs::path file = copy_of(finished_checkpoint(2));
    truncate_file(file, share);

    expect_refused(run({.arguments = with("--resume", file)}), {file.string()});
    expect_refused(run({.arguments = with("--init-from", file)}), {file.string()});
  }
}

TEST(FaultyCheckpoint, BitFlippedIsRefused) {
  const fs::path file = copy_of(finished_checkpoint(2));
  flip_bit(file);

  expect_refused(run({.arguments = with("--resume", file)}), {file.string(), "checksum"});
  expect_refused(run({.arguments = with("--init-from", file)}), {file.string(), "checksum"});
}

TEST(FaultyCheckpoint, BitFlippedIsRefusedOnAllRanks) {
  const fs::path file = copy_of(finished_checkpoint(2));
  flip_bit(file);

  const Outcome outcome = run({.ranks = 2, .arguments = with("--resume", file)});

  expect_refused(outcome, {"[rank 0 on "});
  EXPECT_EQ(outcome.count(file.string()), 1) << outcome;
}

TEST(FaultyCheckpoint, OfAnotherModelIsRefused) {
  expect_refused(run({.arguments = with("--resume", finished_checkpoint(2), "resnet32")}),
                 {"a checkpoint of model resnet32", "one of model resnet20"});
}

TEST(FaultyCheckpoint, ThatIsWeightsAloneIsRefusedWithAWayOut) {
  expect_refused(run({.arguments = with("--resume", finished_run() / "last.safetensors")}),
                 {"a file of weights", "--init-from for weights alone"});
}

TEST(FaultyCheckpoint, ThatIsMissingIsRefused) {
  expect_refused(run({.arguments = with("--resume", "/nonexistent/step.safetensors")}), {"/nonexistent/step.safetensors"});
}

TEST(FaultyWeights, OfAnotherNetworkAreRefused) {
  const fs::path foreign = new_path("lenet5.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "lenet5", "--out", foreign.string()}}).exit_code, 0);

  expect_refused(run({.arguments = with("--init-from", foreign)}), {"a file of model lenet5"});
}

TEST(FaultyWeights, ThatAreNoWeightsAreRefused) {
  const fs::path text = new_path("notes.safetensors");
  write_text(text, "remember to train the network");

  expect_refused(run({.arguments = with("--init-from", text)}), {text.string(), "header"});
  expect_refused(run({.arguments = with("--init-from", fs::path("/nonexistent/w.safetensors"))}),
                 {"/nonexistent/w.safetensors"});
  expect_refused(
      run({.arguments = {"eval", "--model", "resnet20", "--data", demo_data().string(), "--weights", text.string()}}),
      {text.string(), "header"});
}

TEST(FaultyWeights, OfAnotherClassCountAreRefusedByEval) {
  const fs::path weights = new_path("seven.safetensors");
  ASSERT_EQ(run({.arguments = {"init", "--model", "resnet20", "--num-classes", "7", "--out", weights.string()}}).exit_code, 0);

  expect_refused(
      run({.arguments = {"eval", "--model", "resnet20", "--data", demo_data().string(), "--weights", weights.string()}}),
      {"7 folders", "10 folders", "--class-indices"});
}

// Root may write where permissions forbid it; below a regular file and in /proc nobody can.
TEST(OutputPlace, ThatCannotBeWrittenIsRefusedBeforeTheFirstStep) {
  const fs::path file = new_path("file");
  write_text(file, "not a directory");
  for (const fs::path& out : {file / "run", fs::path("/proc/run"), file}) {
    for (const int ranks : {0, 2}) {
      const Outcome outcome = run({.ranks = ranks, .arguments = training_into(out, {"--global-batch", "16", "--steps", "2"})});

      expect_refused(outcome, {out.string()});
      EXPECT_FALSE(outcome.says("step 1/2")) << outcome;
    }
  }
  EXPECT_EQ(read_text(file), "not a directory");
}

TEST(OutputPlace, FilesThatCannotBeWrittenAreRefusedBeforeTheFirstStep) {
  for (const std::string option : {"--metrics", "--report"}) {
    SCOPED_TRACE(option);
    const Outcome outcome = run({.arguments = training({"--global-batch", "16", "--steps", "2", option, "/nonexistent/file"})});

    expect_refused(outcome, {"/nonexistent/file"});
    EXPECT_FALSE(outcome.says("step 1/2")) << outcome;
  }
}

// File names are bytes; reports are JSON, which is UTF-8.
TEST(OutputPlace, WhoseNameIsNotUtf8IsNoFault) {
  const fs::path out = new_path("odd\xff");

  const Outcome outcome =
      run({.arguments = training_into(out, {"--global-batch", "16", "--steps", "2", "--eval-every", "off"})});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(read_json(out / "report.json").at("steps"), 2);
}

TEST(OutputPlace, OfInitThatCannotBeWrittenIsRefused) {
  expect_refused(run({.arguments = {"init", "--model", "resnet20", "--out", "/nonexistent/w.safetensors"}}), {"/nonexistent"});
}

/// A file system in memory of a given size; the tests need root to have one.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& size) : path_(new_path("disk")) {
    fs::create_directories(path_);
    is_mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, ("size=" + size).c_str()) == 0;
    reason_ = is_mounted_ ? "" : std::strerror(errno);
  }
  SmallDisk(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (is_mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  bool is_mounted() const { return is_mounted_; }
  const std::string& reason() const { return reason_; }
  const fs::path& path() const { return path_; }
  bool remount(unsigned long flags, const std::string& size) const {
    return mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT | flags, ("size=" + size).c_str()) == 0;
  }

 private:
  fs::path path_;
  bool is_mounted_ = false;
  std::string reason_;
};

TEST(Disk, ThatIsReadOnlyIsRefusedAtOnce) {
  const SmallDisk disk("32m");
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs: " << disk.reason() << " (needs root)";
  ASSERT_TRUE(disk.remount(MS_RDONLY, "32m"));

  const Outcome outcome =
      run({.ranks = 2, .arguments = training_into(disk.path() / "run", {"--global-batch", "16", "--steps", "2"})});

  expect_refused(outcome, {(disk.path() / "run").string(), "Read-only file system"});
}

// 2.2 MB a checkpoint, 1.1 MB the weights: three checkpoints while the oldest of two is still there, the last weights, the ones
// that take their place, and the best.
TEST(Disk, WithoutRoomForWhatIsSavedIsRefusedAtOnce) {
  const SmallDisk disk("8m");
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs: " << disk.reason() << " (needs root)";

  const Outcome outcome = run(
      {.ranks = 2,
       .arguments = training_into(disk.path() / "run", {"--global-batch", "16", "--steps", "9", "--checkpoint-every", "2"})});

  expect_refused(outcome, {"checking the room for checkpoints", "10 MB free", "fewer --keep-checkpoints"});
}

TEST(Disk, WithTheRoomThatIsAskedForSuffices) {
  const SmallDisk disk("11m");
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs: " << disk.reason() << " (needs root)";
  const std::vector<std::string> options{"--global-batch", "16", "--checkpoint-every", "2", "--steps"};

  const Outcome outcome = run({.ranks = 2, .arguments = training_into(disk.path() / "run", options + Words{"9"})});
  const Outcome resumed =
      run({.ranks = 2, .arguments = training_into(disk.path() / "run", options + Words{"13", "--resume", "auto"})});

  EXPECT_EQ(outcome.exit_code, 0) << outcome;
  EXPECT_EQ(resumed.exit_code, 0) << resumed;
}

// Somebody else fills the disk while the run is at work.
TEST(Disk, ThatFillsUpEndsAllRanksAndKeepsEveryEarlierCheckpoint) {
  const SmallDisk disk("128m");
  if (!disk.is_mounted()) GTEST_SKIP() << "mounting a tmpfs: " << disk.reason() << " (needs root)";
  const fs::path out = disk.path() / "run";
  const std::vector<std::string> options{"--global-batch",     "16", "--steps",      "30", "--checkpoint-every", "1",
                                         "--keep-checkpoints", "30", "--eval-every", "off"};

  Job job({.ranks = 2, .arguments = training_into(out, options)});
  job.wait_until([&] { return fs::exists(checkpoint(out, 2)); });
  const fs::path ballast = disk.path() / "ballast";
  const int descriptor = open(ballast.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  ASSERT_EQ(posix_fallocate(descriptor, 0, static_cast<off_t>(fs::space(disk.path()).available - 10'000'000)), 0);
  close(descriptor);
  const Outcome outcome = job.wait();

  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  EXPECT_TRUE(outcome.says("No space left on device")) << outcome;
  EXPECT_TRUE(outcome.says("[rank 0 on ")) << outcome;
  const std::vector<std::string> saved = file_names(out / "checkpoints");
  ASSERT_GE(saved.size(), 2U);
  for (const std::string& name : saved) EXPECT_NO_THROW(read_tensor_file(out / "checkpoints" / name)) << name;
  EXPECT_NO_THROW(read_tensor_file(out / "last.safetensors"));

  // With more room the run goes on where it was.
  fs::remove(ballast);
  std::vector<std::string> resuming = options;
  resuming.insert(resuming.end(), {"--resume", "auto"});
  const Outcome resumed = run({.ranks = 2, .arguments = training_into(out, resuming)});

  EXPECT_EQ(resumed.exit_code, 0) << resumed;
  EXPECT_TRUE(resumed.says("after step " + std::to_string(saved.size()))) << resumed;
}

TEST(FaultyFiles, PipesAndDevicesAreRefusedAndNotWaitedFor) {
  const fs::path pipe = new_path("pipe");
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  const Words data{"--data", demo_data().string()};
  for (const std::string& file : {pipe.string(), std::string("/dev/zero")}) {
    SCOPED_TRACE(file);
    for (const Words& arguments :
         {Words{"inspect", file}, Words{"plot", file}, Words{"eval", "--weights", file} + data,
          training({"--global-batch", "16", "--steps", "1", "--init-from", file}),
          Words{"eval", "--weights", (finished_run() / "last.safetensors").string(), "--class-indices", file} + data}) {
      expect_refused(run({.arguments = arguments}, kPromptlyS), {file, "a device, pipe or socket"});
    }
  }
}

}  // namespace
}  // namespace dtrain
