// Tensor files that dtrain writes: round trips, atomicity, and detection of every kind of damage.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <cstring>
#include <limits>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "tests/core/fixtures.hpp"

namespace dtrain {
namespace {

using test::read_bytes;
using test::TemporaryDirectory;
using test::write_bytes;

/// f32 and i64 tensors in turn, a scalar, an empty one, odd sizes, values that only bits can tell apart.
TensorFile sample_file() {
  TensorFile file;
  file.metadata = {{"model", "small"}, {"note", "quotes \" and ä and \\ and \n"}};
  file.tensors = {
      {.name = "a.weight", .shape = {2, 3}, .f32 = {1.5f, -0.0f, 1e-40f, 3e38f, -7.25f, 0.1f}, .i64 = {}},
      {.name = "a.num_batches_tracked",
       .shape = {},
       .type = ElementType::i64,
       .f32 = {},
       .i64 = {std::numeric_limits<std::int64_t>::min()}},
      {.name = "empty", .shape = {0, 5}, .f32 = {}, .i64 = {}},
      {.name = "b.bias", .shape = {3}, .f32 = {1.0f, 2.0f, 3.0f}, .i64 = {}},
      {.name = "counts", .shape = {2}, .type = ElementType::i64, .f32 = {}, .i64 = {-1, 1LL << 53}},
  };
  return file;
}

void expect_same_tensors(const TensorFile& actual, const TensorFile& expected) {
  ASSERT_EQ(actual.tensors.size(), expected.tensors.size());
  for (std::size_t t = 0; t < expected.tensors.size(); ++t) {
    const FileTensor& a = actual.tensors[t];
    const FileTensor& e = expected.tensors[t];
    EXPECT_EQ(a.name, e.name);
    EXPECT_EQ(a.shape, e.shape);
    EXPECT_EQ(a.type, e.type);
    EXPECT_EQ(a.i64, e.i64);
    ASSERT_EQ(a.f32.size(), e.f32.size());
    if (!e.f32.empty()) {
      EXPECT_EQ(std::memcmp(a.f32.data(), e.f32.data(), e.f32.size() * sizeof(float)), 0) << e.name;
    }
  }
}

bool is_refused(const std::filesystem::path& path) {
  try {
    (void)read_tensor_file(path);
  } catch (const DataError& error) {
    EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos) << error.what();
    return true;
  }
  return false;
}

TEST(TensorFile, GivesBackWhatWasWritten) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a.safetensors";

  write_tensor_file(path, sample_file());
  const TensorFile read = read_tensor_file(path);

  expect_same_tensors(read, sample_file());
  EXPECT_EQ(read.metadata,
            (std::map<std::string, std::string>{
                {"dtrain.version", "1"}, {"format", "pt"}, {"model", "small"}, {"note", "quotes \" and ä and \\ and \n"}}));
  EXPECT_EQ(read.find("b.bias"), &read.tensors[3]);
  EXPECT_EQ(read.find("c"), nullptr);
}

TEST(TensorFile, CanBeWrittenAgainAsRead) {
  const TemporaryDirectory directory;
  write_tensor_file(directory.path() / "a", sample_file());

  write_tensor_file(directory.path() / "b", read_tensor_file(directory.path() / "a"));

  EXPECT_EQ(read_bytes(directory.path() / "a"), read_bytes(directory.path() / "b"));
}

TEST(TensorFile, MayHoldNoTensorAtAll) {
  const TemporaryDirectory directory;

  write_tensor_file(directory.path() / "none", TensorFile{});

  EXPECT_TRUE(read_tensor_file(directory.path() / "none").tensors.empty());
}

TEST(TensorFile, AlignsDataAndEveryTensorToItsElements) {
  const TemporaryDirectory directory;
  write_tensor_file(directory.path() / "a", sample_file());

  const std::string bytes = read_bytes(directory.path() / "a");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);

  EXPECT_EQ(header_bytes % 8, 0u);
  // i64 tensors come first in the data: 8 + 16 bytes, then 24 and 12 bytes of f32.
  EXPECT_EQ(bytes.size(), 8 + header_bytes + 24 + 24 + 12);
  std::int64_t count = 0;
  std::memcpy(&count, bytes.data() + 8 + header_bytes + 16, 8);
  EXPECT_EQ(count, 1LL << 53);
}

TEST(TensorFile, RefusesEverySingleFlippedBit) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_tensor_file(path, sample_file());
  const std::string intact = read_bytes(path);

  for (std::size_t bit = 0; bit < intact.size() * 8; ++bit) {
    std::string damaged = intact;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path, damaged);
    ASSERT_TRUE(is_refused(path)) << "bit " << bit % 8 << " of byte " << bit / 8 << " of " << intact.size();
  }
}

TEST(TensorFile, RefusesFlippedBitsAnywhereInManyData) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  TensorFile file;
  file.tensors = {{.name = "w", .shape = {100000}, .f32 = std::vector<float>(100000, 1.0f), .i64 = {}}};
  write_tensor_file(path, file);
  const std::string intact = read_bytes(path);

  for (std::size_t bit = 4999; bit < intact.size() * 8; bit += 15013) {  // a prime, so that all bits of a byte have their turn
    std::string damaged = intact;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << (bit % 8)));
    write_bytes(path, damaged);
    ASSERT_TRUE(is_refused(path)) << "bit " << bit;
  }
}

TEST(TensorFile, RefusesEveryTruncationAndExtension) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_tensor_file(path, sample_file());
  const std::string intact = read_bytes(path);

  for (std::size_t size = 0; size < intact.size(); ++size) {
    write_bytes(path, intact.substr(0, size));
    ASSERT_TRUE(is_refused(path)) << size << " bytes";
  }
  write_bytes(path, intact + '\0');
  EXPECT_TRUE(is_refused(path));
}

TEST(TensorFile, RefusesAnOwnFileWithoutItsChecksum) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_tensor_file(path, sample_file());
  const std::string intact = read_bytes(path);

  for (const std::string key : {"dtrain.checksum", "dtrain.version"}) {
    std::string renamed = intact;
    renamed.replace(renamed.find(key), key.size(), std::string(key.size(), 'x'));
    write_bytes(path, renamed);
    EXPECT_TRUE(is_refused(path)) << key;
  }
}

TEST(TensorFile, NamesWhatIsMissing) {
  const TemporaryDirectory directory;

  EXPECT_TRUE(is_refused(directory.path() / "absent"));
  EXPECT_TRUE(is_refused(directory.path()));  // a directory
}

TEST(TensorFile, ReplacesItsDestinationAndLeavesNothingElseBehind) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_bytes(path, "something older");

  write_tensor_file(path, sample_file());

  expect_same_tensors(read_tensor_file(path), sample_file());
  EXPECT_EQ(directory.names(), std::vector<std::string>{"a"});
}

/// Limits the size of files that this process may write, which then fails as on a full disk: in the middle of the data.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_{};
  void (*handler_)(int) = nullptr;
};

TEST(TensorFile, KeepsItsDestinationWhenTheDiskTakesNoMore) {
  const TemporaryDirectory directory;
  const auto path = directory.path() / "a";
  write_tensor_file(path, sample_file());
  const std::string before = read_bytes(path);
  TensorFile larger;
  larger.tensors = {{.name = "w", .shape = {100000}, .f32 = std::vector<float>(100000, 1.0f), .i64 = {}}};

  {
    const FileSizeLimit limit(100000);
    EXPECT_THROW(write_tensor_file(path, larger), DataError);
  }

  EXPECT_EQ(read_bytes(path), before);
  EXPECT_EQ(directory.names(), std::vector<std::string>{"a"});
}

TEST(TensorFile, SaysWhyItCannotBeWritten) {
  const TemporaryDirectory directory;
  const auto text_of = [](const std::filesystem::path& path) -> std::string {
    try {
      write_tensor_file(path, sample_file());
    } catch (const DataError& error) {
      return error.what();
    }
    return "no error";
  };

  const std::string absent = text_of(directory.path() / "no" / "such" / "directory");
  EXPECT_NE(absent.find("No such file or directory"), std::string::npos) << absent;
  EXPECT_NE(absent.find("try: "), std::string::npos) << absent;
  std::filesystem::create_directory(directory.path() / "d");
  EXPECT_NE(text_of(directory.path() / "d").find("directory"), std::string::npos);
  EXPECT_EQ(directory.names(), std::vector<std::string>{"d"});  // no temporary file is left behind
}

TEST(TensorFile, RefusesTensorsThatDoNotFillTheirShapeOrShareAName) {
  const TemporaryDirectory directory;
  TensorFile file = sample_file();
  file.tensors[0].f32.pop_back();
  EXPECT_THROW(write_tensor_file(directory.path() / "a", file), std::logic_error);

  file = sample_file();
  file.tensors[3].name = "a.weight";
  EXPECT_THROW(write_tensor_file(directory.path() / "a", file), std::logic_error);
  EXPECT_TRUE(directory.names().empty());
}

TEST(TensorFile, RefusesTextsThatAreNotUtf8) {
  const TemporaryDirectory directory;
  TensorFile file = sample_file();
  file.metadata["path"] = "\xff\xfe";

  EXPECT_THROW(write_tensor_file(directory.path() / "a", file), DataError);
  EXPECT_TRUE(directory.names().empty());
}

}  // namespace
}  // namespace dtrain
