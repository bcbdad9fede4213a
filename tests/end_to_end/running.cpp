// Starting, watching and ending of jobs; see running.hpp.
#include "tests/end_to_end/running.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <fstream>
#include <map>
#include <ostream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/end_to_end/workspace.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kPoll{5};

/// Counts the seconds in which it was asked. A machine that was suspended, or a test that was stopped together with its job,
/// must not look like a job that hangs.
class Patience {
 public:
  explicit Patience(double limit_s) : left_(limit_s), last_(std::chrono::steady_clock::now()) {}

  /// Sleeps a little. Result: whether there is patience left.
  bool lasts() {
    std::this_thread::sleep_for(kPoll);
    const auto now = std::chrono::steady_clock::now();
    left_ -= std::min(std::chrono::duration<double>(now - last_), kLongestGap);
    last_ = now;
    return left_.count() > 0.0;
  }

 private:
  static constexpr std::chrono::duration<double> kLongestGap{0.25};
  std::chrono::duration<double> left_;
  std::chrono::steady_clock::time_point last_;
};

std::vector<std::string> command_words(const Command& command) {
  if (!command.line.empty()) return command.line;
  std::vector<std::string> words;
  if (command.ranks > 0) {
    words = {DTRAIN_MPIEXEC, "-np", std::to_string(command.ranks), "--oversubscribe", "--bind-to", "none"};
  }
  words.push_back(DTRAIN_BINARY);
  words.insert(words.end(), command.arguments.begin(), command.arguments.end());
  return words;
}

/// The environment of the tests with what mpirun needs as root, and the command's own variables.
std::vector<std::string> environment_words(const Command& command) {
  std::map<std::string, std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    variables[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  variables["OMPI_ALLOW_RUN_AS_ROOT"] = variables["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1";
  variables.erase("OMP_NUM_THREADS");
  variables.try_emplace("ASAN_OPTIONS", "detect_leaks=0");  // MPI's own leaks would change exit codes
  for (const std::string& text : command.environment) {
    variables[text.substr(0, text.find('='))] = text.substr(text.find('=') + 1);
  }
  std::vector<std::string> words;
  for (const auto& [name, value] : variables) words.push_back(name + "=" + value);
  return words;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> all;
  for (std::string& word : words) all.push_back(word.data());
  all.push_back(nullptr);
  return all;
}

pid_t start(const Command& command, const fs::path& output, const fs::path& errors) {
  std::vector<std::string> words = command_words(command);
  std::vector<std::string> environment = environment_words(command);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO, errors.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  posix_spawnattr_t attributes;  // a group of its own: what a terminal sends to the tests does not reach it
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  pid_t process = -1;
  const int fault =
      posix_spawnp(&process, words.front().c_str(), &files, &attributes, pointers(words).data(), pointers(environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (fault != 0) throw std::runtime_error("starting " + words.front() + ": " + std::strerror(fault));
  return process;
}

/// Fields of /proc/PID/stat behind the program's name, which may hold anything: state, parent, …; none: no such process.
std::vector<std::string> process_state(const std::string& process) {
  const std::string text = read_text(fs::path("/proc") / process / "stat");
  const auto name_end = text.rfind(')');
  std::vector<std::string> fields;
  if (name_end == std::string::npos) return fields;
  std::istringstream rest(text.substr(name_end + 1));
  for (std::string field; rest >> field;) fields.push_back(field);
  return fields;
}

/// Value of a variable in a process's environment; empty: none.
std::string variable_of(pid_t process, const std::string& name) {
  std::istringstream all(read_text(fs::path("/proc") / std::to_string(process) / "environ"));
  for (std::string variable; std::getline(all, variable, '\0');) {
    if (variable.starts_with(name + "=")) return variable.substr(name.size() + 1);
  }
  return {};
}

std::vector<pid_t> children_of(pid_t parent) {
  std::vector<pid_t> children;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename().string();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const std::vector<std::string> state = process_state(name);
    if (state.size() > 1 && state[1] == std::to_string(parent)) children.push_back(static_cast<pid_t>(std::stol(name)));
  }
  return children;
}

/// For a shell.
std::string quoted(const std::string& word) {
  std::string text = "'";
  for (const char c : word) c == '\'' ? text += "'\\''" : text += c;
  return text + "'";
}

}  // namespace

Words mpirun_line(const std::vector<Words>& commands) {
  std::string script = "case ${OMPI_COMM_WORLD_RANK:-$PMI_RANK} in";
  for (std::size_t rank = 0; rank < commands.size(); ++rank) {
    script += " " + std::to_string(rank) + ") exec";
    for (const std::string& word : commands[rank]) script += " " + quoted(word);
    script += ";;";
  }
  script += " esac";
  return {DTRAIN_MPIEXEC, "-np", std::to_string(commands.size()), "--oversubscribe", "--bind-to", "none", "sh", "-c", script};
}

int Outcome::count(const std::string& text) const {
  int found = 0;
  for (const std::string* stream : {&output, &errors}) {
    for (auto at = stream->find(text); at != std::string::npos; at = stream->find(text, at + text.size())) ++found;
  }
  return found;
}

std::ostream& operator<<(std::ostream& stream, const Outcome& outcome) {
  return stream << "exit code " << outcome.exit_code << "\n--- output\n"
                << outcome.output << "--- errors\n"
                << outcome.errors << "---\n";
}

Job::Job(const Command& command)
    : command_(command),
      output_(new_path("job.stdout")),
      errors_(new_path("job.stderr")),
      process_(start(command, output_, errors_)) {}

Job::~Job() { end_all(); }

void Job::wait_until(const std::function<bool()>& condition) {
  Patience patience(kLimitS);
  while (!condition()) {
    if (has_ended()) give_up("the job ended too early");
    if (!patience.lasts()) give_up("waited in vain");
  }
}

Outcome Job::wait(double limit_s) {
  Patience patience(limit_s);
  while (!has_ended()) {
    if (!patience.lasts()) give_up("still running after " + std::to_string(limit_s) + " s");
  }
  return outcome();
}

void Job::give_up(const std::string& reason) {
  end_all();
  std::ostringstream text;
  text << reason << ": " << outcome();
  throw std::runtime_error(text.str());
}

void Job::signal(int number) const { kill(process_, number); }

void Job::signal_rank(int rank, int number) const { kill(rank_processes().at(static_cast<std::size_t>(rank)), number); }

void Job::signal_ranks(int number) const {
  for (const pid_t process : rank_processes()) kill(process, number);
}

std::vector<pid_t> Job::rank_processes() const {
  if (command_.ranks == 0) return {process_};
  std::map<int, pid_t> by_rank;
  for (const pid_t child : children_of(process_)) {
    const std::string rank = variable_of(child, "OMPI_COMM_WORLD_RANK");
    if (!rank.empty()) by_rank[std::stoi(rank)] = child;
  }
  if (std::ssize(by_rank) != command_.ranks) {
    throw std::runtime_error(std::to_string(by_rank.size()) + " of " + std::to_string(command_.ranks) + " ranks are running");
  }
  std::vector<pid_t> processes;
  for (const auto& [rank, process] : by_rank) processes.push_back(process);
  return processes;
}

bool Job::has_ended() {
  if (!has_ended_) has_ended_ = waitpid(process_, &status_, WNOHANG) == process_;
  return has_ended_;
}

void Job::end_all() {
  if (has_ended()) return;
  // The ranks first: mpirun gives each a process group of its own, and they would outlive it.
  for (const pid_t child : children_of(process_)) kill(child, SIGKILL);
  kill(process_, SIGKILL);
  waitpid(process_, &status_, 0);
  has_ended_ = true;
}

Outcome Job::outcome() const {
  return {.exit_code = WIFSIGNALED(status_) ? 128 + WTERMSIG(status_) : WEXITSTATUS(status_),
          .output = read_text(output_),
          .errors = read_text(errors_)};
}

Outcome run(const Command& command, double limit_s) { return Job(command).wait(limit_s); }

void expect_refused(const Outcome& outcome, const std::vector<std::string>& says) {
  EXPECT_EQ(outcome.exit_code, 3) << outcome;
  for (const std::string& text : says) EXPECT_TRUE(outcome.says(text)) << "no \"" << text << "\" in " << outcome;
  EXPECT_FALSE(outcome.says("total images/sec")) << outcome;
}

bool has_gone(pid_t process) {
  const auto is_running = [&] {
    const std::vector<std::string> state = process_state(std::to_string(process));
    return !state.empty() && state.front() != "Z" && state.front() != "X";
  };
  for (Patience patience(kPromptlyS); is_running();) {
    if (!patience.lasts()) return false;
  }
  return true;
}

}  // namespace dtrain
