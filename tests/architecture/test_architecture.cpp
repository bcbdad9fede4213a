// The shape of the tree as tests: which folder may include what, how long a file may be, which names are not used.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

struct SourceFile {
  std::string path;  ///< below the root: "src/nn/graph.cpp"
  std::vector<std::string> lines;
};

std::vector<SourceFile> source_files() {
  std::vector<SourceFile> files;
  const fs::path root = DTRAIN_SOURCE_DIR;
  for (const char* folder : {"include", "src", "schedules", "collectives", "trainer", "launch", "bench", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      const std::string extension = entry.path().extension().string();
      if (extension != ".cpp" && extension != ".hpp" && extension != ".inc") continue;
      SourceFile file{fs::relative(entry.path(), root).generic_string(), {}};
      std::ifstream text(entry.path());
      for (std::string line; std::getline(text, line);) file.lines.push_back(line);
      files.push_back(std::move(file));
    }
  }
  return files;
}

bool is_below(const std::string& path, const std::string& folder) { return path.starts_with(folder + "/"); }

/// Folder, and what its files never include (a regular expression on the included path).
struct Rule {
  const char* folder;
  const char* forbidden;
};

const std::vector<Rule> kRules{
    {"include/dtrain",
     R"(^(mpi\.h|dnnl.*|oneapi/.*|hwloc.*|cxxopts.*|spdlog/.*|src/.*|schedules/.*|collectives/.*|trainer/.*|launch/.*)$)"},
    {"src/nn",
     R"(^(mpi\.h|hwloc.*|cxxopts.*|spdlog/.*|src/(data|models)/.*|schedules/.*|collectives/.*|trainer/.*|launch/.*)$)"},
    {"src/models",
     R"(^(mpi\.h|dnnl.*|oneapi/.*|hwloc.*|spdlog/.*|src/(data|nn)/.*|schedules/.*|collectives/.*|trainer/.*|launch/.*)$)"},
    {"src/data",
     R"(^(mpi\.h|dnnl.*|oneapi/.*|hwloc.*|spdlog/.*|src/(models|nn)/.*|schedules/.*|collectives/.*|trainer/.*|launch/.*)$)"},
    {"src", R"(^(mpi\.h|hwloc.*|cxxopts.*|spdlog/.*|schedules/.*|collectives/.*|trainer/.*|launch/.*)$)"},
    {"schedules", R"(^((?!schedules/|dtrain/error\.hpp|dtrain/random\.hpp)[^.]*[/.].*)$)"},
    {"collectives",
     R"(^(dnnl.*|oneapi/.*|hwloc.*|spdlog/.*|dtrain/(?!error\.hpp|random\.hpp).*|src/.*|trainer/.*|launch/.*)$)"},
    {"trainer", R"(^(mpi\.h|dnnl.*|oneapi/.*|hwloc.*|cxxopts.*|src/.*|launch/.*|collectives/mpi_handles\.hpp)$)"},
    {"launch", R"(^(mpi\.h|dnnl.*|oneapi/.*|src/.*|collectives/mpi_handles\.hpp)$)"},
};

TEST(Architecture, EveryFolderIncludesOnlyWhatItMay) {
  const std::regex include(R"(^\s*#\s*include\s*[<"]([^>"]+)[>"])");
  for (const SourceFile& file : source_files()) {
    for (const Rule& rule : kRules) {
      if (!is_below(file.path, rule.folder)) continue;
      const std::regex forbidden(rule.forbidden);
      for (const std::string& line : file.lines) {
        std::smatch match;
        if (!std::regex_search(line, match, include)) continue;
        // Standard headers have neither a folder nor an ending; system ones (sys/mman.h, unistd.h) are for src and below.
        const std::string path = match[1];
        EXPECT_FALSE(std::regex_match(path, forbidden)) << file.path << " includes " << path;
      }
    }
  }
}

TEST(Architecture, OneDnnsVersionIsAskedForInOneFile) {
  const std::string place = "src/nn/onednn_versions.hpp";
  const std::regex version(R"(\b(DNNL|ONEDNN)_VERSION_[A-Z]+)");
  int found_in_place = 0;
  for (const SourceFile& file : source_files()) {
    if (file.path == "tests/architecture/test_architecture.cpp") continue;
    for (const std::string& line : file.lines) {
      if (!std::regex_search(line, version)) continue;
      if (file.path == place) {
        ++found_in_place;
      } else {
        ADD_FAILURE() << file.path << ": " << line << "\nwhat differs between oneDNN's versions belongs into " << place;
      }
    }
  }
  EXPECT_EQ(found_in_place, 1) << place << " has one #if, whose two halves declare the same";
}

TEST(Architecture, NoFileIsLongerThanSixHundredLines) {
  for (const SourceFile& file : source_files()) EXPECT_LE(file.lines.size(), 600U) << file.path;
}

TEST(Architecture, EveryFileBeginsBySayingWhatItIsFor) {
  for (const SourceFile& file : source_files()) {
    ASSERT_FALSE(file.lines.empty()) << file.path;
    EXPECT_TRUE(file.lines.front().starts_with("// ")) << file.path << " begins with: " << file.lines.front();
  }
}

TEST(Architecture, HeadersAreGuardedOnce) {
  for (const SourceFile& file : source_files()) {
    if (!file.path.ends_with(".hpp")) continue;
    EXPECT_EQ(1, std::ranges::count(file.lines, "#pragma once")) << file.path;
  }
}

TEST(Architecture, NamesSayWhatThingsAre) {
  const std::regex empty_noun(R"(\b(class|struct)\s+[A-Za-z]*(Manager|Helper|Util|Utils|Handler|Common)\b)");
  const std::regex unfinished(R"(\b(TODO|FIXME|XXX)\b)");
  for (const SourceFile& file : source_files()) {
    if (file.path == "tests/architecture/test_architecture.cpp") continue;
    for (const std::string& line : file.lines) {
      EXPECT_FALSE(std::regex_search(line, empty_noun)) << file.path << ": " << line;
      EXPECT_FALSE(std::regex_search(line, unfinished)) << file.path << ": " << line;
    }
  }
}

}  // namespace
