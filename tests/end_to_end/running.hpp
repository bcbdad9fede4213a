// Runs the dtrain program as its users do, alone or under mpirun: output captured, exit code as a shell gives it, and a time
// limit, so that a hang is a failed test and not a stuck one.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <iosfwd>
#include <string>
#include <vector>

namespace dtrain {

/// Far more than any command here needs, also under sanitizers.
inline constexpr double kLimitS = 120.0;
/// Within this a job has ended that does not wait for anything in vain.
inline constexpr double kPromptlyS = 20.0;

using Words = std::vector<std::string>;
inline Words operator+(Words first, const Words& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

struct Command {
  int ranks = 0;                           ///< under mpirun; 0: without mpirun
  std::vector<std::string> arguments;      ///< of dtrain
  std::vector<std::string> environment{};  ///< "NAME=value", added to the one of the tests
  std::vector<std::string> line{};         ///< instead of `mpirun -np RANKS dtrain ARGUMENTS`: all words of another command
};

struct Outcome {
  int exit_code = 0;   ///< 128 + signal when a signal ended it
  std::string output;  ///< standard output
  std::string errors;  ///< standard error

  bool says(const std::string& text) const { return count(text) > 0; }
  /// How often output and errors contain the text.
  int count(const std::string& text) const;
};
/// For the message of a failed test: exit code and all that was printed.
std::ostream& operator<<(std::ostream& stream, const Outcome& outcome);

/// A command on its way.
class Job {
 public:
  /// Errors: std::runtime_error: the program could not be started.
  explicit Job(const Command& command);
  Job(const Job&) = delete;
  /// Ends what is still running.
  ~Job();

  /// Waits until `condition` holds. Errors: std::runtime_error with all output: the job ended before, or kLimitS have passed.
  void wait_until(const std::function<bool()>& condition);
  /// Waits for the end. Errors: std::runtime_error with all output, after ending the job: the limit has passed.
  Outcome wait(double limit_s = kLimitS);

  /// Signals what was started: dtrain, or mpirun.
  void signal(int number) const;
  /// Signals one rank, or all of them.
  void signal_rank(int rank, int number) const;
  void signal_ranks(int number) const;
  /// The process of each rank, by rank. Errors: std::runtime_error: not all of them run.
  std::vector<pid_t> rank_processes() const;

 private:
  bool has_ended();
  void end_all();
  [[noreturn]] void give_up(const std::string& reason);
  Outcome outcome() const;

  Command command_;
  std::filesystem::path output_;
  std::filesystem::path errors_;
  pid_t process_ = -1;
  bool has_ended_ = false;
  int status_ = 0;  ///< of waitpid
};

Outcome run(const Command& command, double limit_s = kLimitS);

/// mpirun's line for ranks that are not alike: a command for each. A shell on every rank picks its own, since ':' between
/// commands crashes the mpirun of Open MPI 5.0 where PMIx is the system's, as in Debian 13 (open-mpi/ompi#13303).
Words mpirun_line(const std::vector<Words>& commands);

/// Fails unless the run ended for bad data or files (exit code 3), without a result, and said all of these texts.
void expect_refused(const Outcome& outcome, const std::vector<std::string>& says);

/// Whether a process ends within kPromptlyS: mpirun does not wait until the kernel has taken down the memory of one it killed.
/// One that merely waits to be collected has ended.
bool has_gone(pid_t process);

}  // namespace dtrain
