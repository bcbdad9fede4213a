// Lock and status of --out; see run_directory.hpp.
#include "trainer/run_directory.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "trainer/on_root.hpp"
#include "trainer/text_file.hpp"
#include "trainer/version.hpp"

namespace dtrain {
namespace {

DataError no_such_place(const std::filesystem::path& path, const std::string& found) {
  return DataError(Fault{.doing = "opening " + path.string(),
                         .expected = "a directory that can be written",
                         .found = found,
                         .remedy = "another --out"});
}

void make_run_directory(const std::filesystem::path& out) {
  std::error_code error;
  std::filesystem::create_directories(out, error);
  if (error || !std::filesystem::is_directory(out)) throw no_such_place(out, error ? error.message() : "a file of that name");
}

constexpr std::string_view kHolderBegins = "process ";

std::string holder_text(const std::string& started) {
  return std::string(kHolderBegins) + std::to_string(getpid()) + " on " + host_name() + ", since " + started;
}

constexpr const char* kStatusName = "status.json";
constexpr const char* kLockName = ".lock";

/// A file that has a name of ours and was written by somebody else is theirs.
[[noreturn]] void throw_of_somebody(const std::filesystem::path& path) {
  throw DataError(Fault{.doing = "starting a run in " + path.parent_path().string(),
                        .expected = path.filename().string() + " of an earlier run, or none",
                        .found = "another file of that name, which will not be replaced",
                        .remedy = "another --out, or move that file away"});
}

std::optional<RunStatus> read_status(const std::filesystem::path& out) {
  std::string fault;
  return parse_status(read_text_file(out / kStatusName, fault).value_or(""));
}

/// A status appears whole, under this name or not at all: what does not read as one never was. An empty file is nobody's.
void require_no_status_of_somebody(const std::filesystem::path& out) {
  std::error_code error;
  const std::filesystem::path path = out / kStatusName;
  if (!std::filesystem::is_regular_file(path, error) || std::filesystem::file_size(path, error) == 0 || error) return;
  if (!read_status(out)) throw_of_somebody(path);
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path)
    : descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666)) {
  if (descriptor_ < 0) throw no_such_place(path, errno == ELOOP ? "a symbolic link" : std::generic_category().message(errno));
  // A lock of the open file, not of the process: no other close() of the same file frees it.
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fcntl(descriptor_, F_OFD_SETLK, &whole) == 0) {
    state_ = State::held;
  } else if (errno == EAGAIN || errno == EACCES) {
    state_ = State::held_by_another;
  }
}

FileLock::~FileLock() {
  if (descriptor_ >= 0) close(descriptor_);
}

void FileLock::describe_holder(const std::string& text) const {
  if (ftruncate(descriptor_, 0) != 0) return;
  (void)!pwrite(descriptor_, text.data(), text.size(), 0);
}

std::string FileLock::holder() const {
  std::array<char, 512> text{};
  const ssize_t length = pread(descriptor_, text.data(), text.size(), 0);
  return length > 0 ? std::string(text.data(), static_cast<std::size_t>(length)) : "";
}

bool has_never_saved(const std::filesystem::path& out) {
  const std::optional<RunStatus> status = read_status(out);
  return status && status->step == 0;
}

RunDirectory::RunDirectory(const Run& run, const Communicator& communicator) : out_(run.out), is_root_(communicator.is_root()) {
  status_.ranks = communicator.size();
  status_.version = version_text();
  status_.command = run.command;
  on_root(communicator, [&] {
    status_.host = host_name();
    status_.pid = getpid();
    status_.started = utc_now();
    make_run_directory(out_);
    lock_.emplace(out_ / kLockName);
    const std::string holder = lock_->holder();
    if (!holder.empty() && !holder.starts_with(kHolderBegins)) throw_of_somebody(out_ / kLockName);
    if (lock_->state() == FileLock::State::held_by_another) {
      throw DataError(Fault{.doing = "starting a run in " + out_.string(),
                            .expected = "a directory in which no other run is at work",
                            .found = holder.empty() ? "another process that has just begun" : holder,
                            .remedy = "another --out, or the same again once that one has ended"});
    }
    require_no_status_of_somebody(out_);
    if (lock_->state() == FileLock::State::not_supported) {
      spdlog::warn("{} is on a file system without locks: a second run with the same --out would not be noticed",
                   out_.string());
    } else {
      lock_->describe_holder(holder_text(status_.started));
    }
    const std::optional<RunStatus> earlier = read_status(out_);
    // A new status says that nothing was saved: not beside weights that may be of a finished run.
    is_own_ = (run.resumes && earlier) || !holds_earlier_run();
    if (earlier && run.resumes) {
      status_.step = earlier->step;
      status_.total_steps = earlier->total_steps;
      status_.epoch = earlier->epoch;
    }
    if (is_own_) write();
  });
  is_own_ = communicator.broadcast_value(is_own_);
  status_.host = communicator.broadcast_text(status_.host);
  status_.pid = communicator.broadcast_value(status_.pid);
  status_.started = communicator.broadcast_text(status_.started);
}

bool RunDirectory::holds_earlier_run() const { return std::filesystem::exists(status_path()) || holds_weights({.out = out_}); }

void RunDirectory::write() {
  status_.time = utc_now();
  replace_text_file(status_path(), status_json(status_));
}

void RunDirectory::begin(std::int64_t step, double epoch, std::int64_t total_steps) {
  is_own_ = true;
  status_.step = step;
  status_.epoch = epoch;
  status_.total_steps = total_steps;
  if (is_root_) write();
}

void RunDirectory::saved(std::int64_t step, double epoch) {
  status_.step = step;
  status_.epoch = epoch;
  if (is_root_) write();
}

void RunDirectory::end(int exit_code, const std::string& reason) noexcept {
  if (!is_own_) return;
  try {
    const std::optional<RunStatus> present = read_status(out_);
    const bool is_at_work = present && present->state == RunState::running && present->host == status_.host &&
                            present->pid == status_.pid && present->started == status_.started;
    const bool has_failed =
        exit_code != static_cast<int>(ExitCode::done) && exit_code != static_cast<int>(ExitCode::stopped_on_request);
    // Another rank's word about why the job ends comes first: what this one met may follow from it.
    if (!is_at_work && (has_failed || !is_root_)) return;
    if (!has_failed && !is_root_) return;
    if (!is_root_) status_ = *present;
    status_.state = has_failed                                      ? RunState::failed
                    : exit_code == static_cast<int>(ExitCode::done) ? RunState::done
                                                                    : RunState::stopped;
    status_.exit_code = exit_code;
    status_.reason = reason;
    write();
  } catch (const std::exception& error) {
    if (is_root_) spdlog::warn("{}", error.what());
  }
}

}  // namespace dtrain
