// Texts in files: read where they are regular files, and written to pipes that somebody reads. Nothing waits for ever.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <iterator>
#include <thread>

#include "dtrain/error.hpp"
#include "trainer/metrics.hpp"
#include "trainer/output_files.hpp"
#include "trainer/text_file.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

class TextFile : public testing::Test {
 protected:
  TextFile() {
    std::string name = (fs::temp_directory_path() / "dtrain_text_XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~TextFile() override {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  fs::path pipe() const {
    fs::path path = directory_ / "pipe";
    EXPECT_EQ(mkfifo(path.c_str(), 0600), 0);
    return path;
  }
  static std::string fault_of(const fs::path& path) {
    std::string fault;
    EXPECT_FALSE(read_text_file(path, fault).has_value());
    return fault;
  }

  fs::path directory_;
};

/// Reads a pipe to its end, as `cat` does.
class Reader {
 public:
  explicit Reader(const fs::path& path)
      : thread_([this, path] {
          std::ifstream file(path);
          text_.assign(std::istreambuf_iterator<char>(file), {});
        }) {}
  const std::string& text() {
    thread_.join();
    return text_;
  }

 private:
  std::string text_;
  std::thread thread_;
};

TEST_F(TextFile, IsReadWhole) {
  const std::string text = std::string(200000, 'x') + "\n";
  std::ofstream(directory_ / "long") << text;
  std::string fault = "an earlier one";

  EXPECT_EQ(read_text_file(directory_ / "long", fault), text);
  EXPECT_EQ(fault, "");
}

TEST_F(TextFile, IsNoPipeNorDeviceNorDirectory) {
  EXPECT_EQ(fault_of(pipe()), "a device, pipe or socket");
  EXPECT_EQ(fault_of("/dev/zero"), "a device, pipe or socket");
  EXPECT_EQ(fault_of(directory_), "a directory");
  EXPECT_EQ(fault_of(directory_ / "none"), "No such file or directory");
}

TEST_F(TextFile, IsWrittenToAPipeForAReaderThatHadWaitedSinceTheFirstLook) {
  const fs::path path = pipe();
  Reader reader(path);
  std::this_thread::sleep_for(std::chrono::milliseconds(50));  // now it waits, as one started before the run does

  require_sound_outputs({{"--report", path}}, {});
  write_text_file(path, "--report", "result\n");

  EXPECT_EQ(reader.text(), "result\n");
}

TEST_F(TextFile, WaitsForTheReaderOfAPipeOnlySoLong) {
  const fs::path path = pipe();
  try {
    write_text_file(path, "--report", "result\n");
    FAIL() << "nobody reads";
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find("(--report): expected a process that reads from it, found none within 10 s"),
              std::string::npos)
        << error.what();
  }
}

TEST_F(TextFile, OfMetricsMayBeAPipeWhenARunGoesOn) {
  const fs::path path = pipe();
  Reader reader(path);

  MetricsFile(path, 5, nullptr).flush();

  EXPECT_EQ(reader.text(), "");
}

}  // namespace
}  // namespace dtrain
