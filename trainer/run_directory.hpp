// The directory of a run, --out: no second run may write there while this one lives, and status.json says what has become of
// it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "trainer/run_status.hpp"

namespace dtrain {

/// An exclusive lock on a file, which the end of the process frees however it ends: a killed run leaves no stale lock. Between
/// hosts it holds where the file system passes locks on (NFS does, unless mounted with nolock or local_lock).
class FileLock {
 public:
  /// Makes the file if need be. Errors: DataError: it cannot be opened.
  explicit FileLock(const std::filesystem::path& path);
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  ~FileLock();

  enum class State { held, held_by_another, not_supported };
  State state() const { return state_; }
  /// Says who holds it, for others: replaces what is in the file, as far as that can be written.
  void describe_holder(const std::string& text) const;
  /// What the holder has said; empty: nothing yet.
  std::string holder() const;

 private:
  int descriptor_ = -1;
  State state_ = State::not_supported;
};

/// Whether status.json says that the run in a directory has ended, or was killed, before its first checkpoint. False: it says
/// something else, or nothing.
bool has_never_saved(const std::filesystem::path& out);

class RunDirectory {
 public:
  struct Run {
    std::filesystem::path out;  ///< made if need be
    bool resumes = false;       ///< it may go on with the run that is in there (--resume auto)
    std::vector<std::string> command;
  };
  /// Collective; the root alone needs to see the directory. Locks it, and writes the first status unless the directory holds an
  /// earlier run that this one may turn out not to continue. Nothing else there is touched.
  /// Errors, on every rank: DataError: another run is at work there, it cannot be written, or status.json or .lock in it was
  /// written by somebody else.
  RunDirectory(const Run& run, const Communicator& communicator);

  /// The run goes on after `step`, with `epoch` epochs done. From here on the directory is its own, whatever was there. To be
  /// called on every rank. Errors: DataError on the root.
  void begin(std::int64_t step, double epoch, std::int64_t total_steps);
  /// A checkpoint of this step is on the disk. The root writes. Errors: DataError.
  void saved(std::int64_t step, double epoch);
  /// The run has ended by itself, or this rank is about to end it with an error. The root writes; another rank only where it
  /// sees the status and it is still that of this run at work: the root may have been lost, or knows nothing yet. Says with a
  /// warning where it cannot be written.
  void end(int exit_code, const std::string& reason) noexcept;

 private:
  std::filesystem::path status_path() const { return out_ / "status.json"; }
  bool holds_earlier_run() const;
  void write();

  std::filesystem::path out_;
  bool is_root_;
  bool is_own_ = false;  ///< what is in the directory is this run's, or is continued by it
  std::optional<FileLock> lock_;
  RunStatus status_;
};

}  // namespace dtrain
