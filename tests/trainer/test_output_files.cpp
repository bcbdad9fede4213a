// Outputs are looked at beforehand: nothing is left behind, nothing is changed, no file serves twice.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <iterator>

#include "dtrain/error.hpp"
#include "trainer/output_files.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

class OutputFiles : public testing::Test {
 protected:
  OutputFiles() {
    std::string name = (fs::temp_directory_path() / "dtrain_outputs_XXXXXX").string();
    directory_ = mkdtemp(name.data());
  }
  ~OutputFiles() override {
    std::error_code ignored;
    fs::remove_all(directory_, ignored);
  }
  std::ptrdiff_t files() const { return std::distance(fs::directory_iterator(directory_), {}); }

  fs::path directory_;
};

std::string output_fault(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs = {}) {
  try {
    require_sound_outputs(outputs, inputs);
  } catch (const Error& error) {
    return std::to_string(static_cast<int>(error.exit_code())) + " " + error.what();
  }
  return "";
}

TEST_F(OutputFiles, AreNeitherLeftBehindNorChanged) {
  std::ofstream(directory_ / "old") << "content";
  std::ofstream(directory_ / "empty");

  for (const bool is_replaced : {false, true}) {
    EXPECT_EQ(output_fault({{"--a", directory_ / "new", is_replaced},
                            {"--b", directory_ / "old", is_replaced, "cont"},
                            {"--c", ""},
                            {"--d", directory_ / "empty", is_replaced, "cont"}}),
              "");
  }

  EXPECT_EQ(files(), 2);
  std::ifstream old(directory_ / "old");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(old), {}), "content");
}

TEST_F(OutputFiles, ThatCannotBeWrittenAreNamedWithTheirOption) {
  for (const bool is_replaced : {false, true}) {
    const std::string missing = output_fault({{"--logits", directory_ / "none" / "file", is_replaced}});
    EXPECT_TRUE(missing.starts_with("3 opening " + (directory_ / "none/file").string() + " (--logits)")) << missing;
    EXPECT_NE(missing.find("No such file or directory"), std::string::npos) << missing;
    EXPECT_NE(output_fault({{"--report", directory_, is_replaced}}).find("a directory"), std::string::npos);
  }
  EXPECT_NE(output_fault({{"--logits", "/dev/null", true}}).find("no regular file"), std::string::npos)
      << "it would be replaced";
}

TEST_F(OutputFiles, TakeThePlaceOfNobodysFile) {
  std::ofstream(directory_ / "thesis") << "years of work";
  std::ofstream(directory_ / "report") << "{\n  \"model\": \"lenet5\"";

  for (const bool is_replaced : {false, true}) {
    const std::string foreign = output_fault({{"--report", directory_ / "thesis", is_replaced, output_mark::report}});
    EXPECT_TRUE(foreign.starts_with("3 looking at " + (directory_ / "thesis").string() + " (--report)")) << foreign;
    EXPECT_NE(foreign.find("will not be replaced"), std::string::npos) << foreign;
    EXPECT_EQ(output_fault({{"--report", directory_ / "report", is_replaced, output_mark::report}}), "");
  }
  const NamedFile fresh{.option = "--out", .path = directory_ / "report", .is_replaced = true, .is_new = true};
  EXPECT_NE(output_fault({fresh}).find("expected no file yet"), std::string::npos);
}

TEST_F(OutputFiles, OfARunAreNoLinks) {
  fs::create_symlink(directory_ / "elsewhere", directory_ / "metrics.jsonl");

  const std::string fault = output_fault({{.option = "--metrics", .path = directory_ / "metrics.jsonl", .is_no_link = true}});

  EXPECT_NE(fault.find("a symbolic link"), std::string::npos) << fault;
  EXPECT_EQ(output_fault({{.option = "--metrics", .path = directory_ / "metrics.jsonl"}}), "") << "where the user named it";
}

TEST_F(OutputFiles, MayBeDevicesAndPipesWithoutAReader) {
  ASSERT_EQ(mkfifo((directory_ / "pipe").c_str(), 0600), 0);

  EXPECT_EQ(output_fault({{"--a", "/dev/null"}, {"--b", "/dev/null"}, {"--c", directory_ / "pipe"}}), "");
}

TEST_F(OutputFiles, ServeForOnePurposeOnly) {
  std::ofstream(directory_ / "weights") << "w";
  fs::create_symlink(directory_ / "weights", directory_ / "link");

  const std::string twice = output_fault({{"--report", directory_ / "r"}, {"--confusion", directory_ / "." / "r"}});
  EXPECT_TRUE(twice.starts_with("2 ")) << twice;
  EXPECT_NE(twice.find("the one of --report"), std::string::npos) << twice;
  for (const char* name : {"weights", "link"}) {
    const std::string input = output_fault({{"--logits", directory_ / name, true}}, {{"--weights", directory_ / "weights"}});
    EXPECT_NE(input.find("the one of --weights"), std::string::npos) << input;
  }
  EXPECT_EQ(files(), 2);
}

}  // namespace
}  // namespace dtrain
