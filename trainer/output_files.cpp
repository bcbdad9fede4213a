// Looking at outputs beforehand; see output_files.hpp.
#include "trainer/output_files.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <system_error>

#include "dtrain/error.hpp"

namespace dtrain {
namespace {

[[noreturn]] void throw_unwritable(const NamedFile& file, const std::string& found) {
  throw DataError(Fault{.doing = "opening " + file.path.string() + " (" + file.option + ")",
                        .expected = "a file that can be written",
                        .found = found,
                        .remedy = "another path, or create the directory"});
}

/// Creates a file that is not there, and removes it again. Errors: as said.
void try_to_create(const NamedFile& file, const std::filesystem::path& path) {
  const int descriptor = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (descriptor < 0 && errno == EEXIST) return;  // somebody was quicker, or a link to nowhere, which writing will follow
  if (descriptor < 0) throw_unwritable(file, std::generic_category().message(errno));
  close(descriptor);
  unlink(path.c_str());
}

constexpr std::size_t kMarkWithin_bytes = 4096;

bool has_mark(const std::filesystem::path& path, std::string_view mark) {
  std::string beginning(kMarkWithin_bytes, '\0');
  std::ifstream file(path, std::ios::binary);
  file.read(beginning.data(), std::ssize(beginning));
  return std::string_view(beginning).substr(0, static_cast<std::size_t>(file.gcount())).find(mark) != std::string_view::npos;
}

/// A run goes on from its records; another command's in their place would be taken for its own.
void require_no_record_of_another_run(const NamedFile& file) {
  constexpr std::array<std::string_view, 4> kRecords{"metrics.jsonl", "report.json", "status.json", "log.txt"};
  if (std::ranges::find(kRecords, file.path.filename().string()) == kRecords.end()) return;
  std::error_code error;
  const auto folder = std::filesystem::weakly_canonical(std::filesystem::absolute(file.path).parent_path(), error);
  if (!file.run.empty() && folder == std::filesystem::weakly_canonical(std::filesystem::absolute(file.run), error)) return;
  if (!std::filesystem::is_regular_file(file.path, error) || !std::filesystem::exists(folder / "status.json", error)) return;
  throw DataError(Fault{.doing = "looking at " + file.path.string() + " (" + file.option + ")",
                        .expected = "no file yet, or one that is no run's",
                        .found = "a record of the run in " + folder.string() + ", which will not be replaced",
                        .remedy = "another path"});
}

/// Files that a user has, and named by mistake, or to which a link leads.
void require_own(const NamedFile& file) {
  std::error_code none;
  if (file.is_no_link && std::filesystem::is_symlink(std::filesystem::symlink_status(file.path, none))) {
    throw DataError(Fault{.doing = "looking at " + file.path.string(),
                          .expected = "a file of the run, or none yet",
                          .found = "a symbolic link, which leads to another file",
                          .remedy = "remove the link; " + file.option + " FILE writes elsewhere"});
  }
  require_no_record_of_another_run(file);
  if (!file.is_new && file.mark.empty()) return;
  std::error_code error;
  if (!std::filesystem::is_regular_file(file.path, error) || std::filesystem::file_size(file.path, error) == 0 || error) return;
  if (!file.is_new && has_mark(file.path, file.mark)) return;
  throw DataError(Fault{.doing = "looking at " + file.path.string() + " (" + file.option + ")",
                        .expected = file.is_new ? "no file yet" : "no file yet, or an earlier one of " + file.option,
                        .found = file.is_new ? "one, which will not be replaced" : "another file, which will not be replaced",
                        .remedy = "another path, or move that file away"});
}

void require_writable_output(const NamedFile& file) {
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(file.path, error);
  if (std::filesystem::is_directory(status)) throw_unwritable(file, "a directory");
  const bool is_there = std::filesystem::exists(status);
  if (file.is_replaced) {
    if (is_there && !std::filesystem::is_regular_file(status)) throw_unwritable(file, "something that is no regular file");
    // The name of a partial file: should the process be killed right here, the next run removes it.
    return try_to_create(file, file.path.string() + ".partial-" + std::to_string(getpid()));
  }
  if (!is_there) return try_to_create(file, file.path);
  // A reader of a pipe may not have come yet, and one that waits would find it closed again: looked at, not opened.
  if (std::filesystem::is_fifo(status)) {
    if (access(file.path.c_str(), W_OK) != 0) throw_unwritable(file, std::generic_category().message(errno));
    return;
  }
  // Not truncated: what is there stays until there is something to take its place.
  const int descriptor = open(file.path.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  if (descriptor < 0) throw_unwritable(file, std::generic_category().message(errno));
  if (descriptor >= 0) close(descriptor);
}

/// Terminals, pipes and /dev/null serve for several purposes.
bool is_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code error;
  if (std::filesystem::exists(a, error) && std::filesystem::exists(b, error)) {
    return std::filesystem::is_regular_file(a, error) && std::filesystem::equivalent(a, b, error);
  }
  return std::filesystem::weakly_canonical(std::filesystem::absolute(a), error) ==
         std::filesystem::weakly_canonical(std::filesystem::absolute(b), error);
}

void require_apart(const NamedFile& output, const NamedFile& other) {
  if (output.path.empty() || other.path.empty() || !is_same_file(output.path, other.path)) return;
  throw ConfigError(Fault{.doing = "writing " + output.path.string() + " (" + output.option + ")",
                          .expected = "a file of its own",
                          .found = "the one of " + other.option,
                          .remedy = "another path for one of them"});
}

}  // namespace

void require_sound_outputs(const std::vector<NamedFile>& outputs, const std::vector<NamedFile>& inputs) {
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    for (const NamedFile& input : inputs) require_apart(outputs[i], input);
    for (std::size_t k = 0; k < i; ++k) require_apart(outputs[i], outputs[k]);
  }
  for (const NamedFile& output : outputs) {
    if (output.path.empty()) continue;
    require_own(output);
    require_writable_output(output);
  }
}

}  // namespace dtrain
