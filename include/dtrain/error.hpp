// Errors of the world (files, options, peers) as exceptions with a message of four parts, and the
// process exit code each of them means. Caller's bugs are `assert`s in hot code and `check` elsewhere.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace dtrain {

/// Process exit codes; scripts rely on them.
enum class ExitCode : int {
  done = 0,
  usage = 2,
  data = 3,
  communication = 4,
  diverged = 5,
  stopped_on_request = 75,
};

/// What a message about a fault says. Empty parts are left out.
struct Fault {
  std::string doing;     ///< what was being done: "reading the weights of slot conv1.weight from a.safetensors"
  std::string expected;  ///< what should have been there: "shape (64, 3, 7, 7)"
  std::string found;     ///< what was there: "shape (64, 1, 7, 7)"
  std::string remedy;    ///< what to try: "choose --model resnet18"
};

/// "doing: expected E, found F; try R".
inline std::string to_text(const Fault& fault) {
  std::string text = fault.doing;
  if (!fault.expected.empty()) text += ": expected " + fault.expected;
  if (!fault.found.empty()) text += (fault.expected.empty() ? ": found " : ", found ") + fault.found;
  if (!fault.remedy.empty()) text += "; try: " + fault.remedy;
  return text;
}

/// "1 class", "2 classes"; many: where it is not `one` with an s.
inline std::string counted(std::int64_t count, const std::string& one, const std::string& many = {}) {
  return std::to_string(count) + " " + (count == 1 ? one : many.empty() ? one + "s" : many);
}

/// Base of all errors that a user can cause or mend.
class Error : public std::runtime_error {
 public:
  Error(ExitCode exit_code, const std::string& text) : std::runtime_error(text), exit_code_(exit_code) {}
  ExitCode exit_code() const { return exit_code_; }

 private:
  ExitCode exit_code_;
};

/// An option, or a combination of options, cannot be honoured. Exit code 2.
class ConfigError : public Error {
 public:
  explicit ConfigError(const std::string& text) : Error(ExitCode::usage, text) {}
  explicit ConfigError(const Fault& fault) : ConfigError(to_text(fault)) {}
};

/// A file, directory or picture is missing, damaged or of another kind. Exit code 3.
class DataError : public Error {
 public:
  explicit DataError(const std::string& text) : Error(ExitCode::data, text) {}
  explicit DataError(const Fault& fault) : DataError(to_text(fault)) {}
};

/// MPI failed, a peer stopped answering, or the ranks disagree. Exit code 4.
class CommError : public Error {
 public:
  explicit CommError(const std::string& text) : Error(ExitCode::communication, text) {}
  explicit CommError(const Fault& fault) : CommError(to_text(fault)) {}
};

/// The loss is not finite. Exit code 5.
class DivergedError : public Error {
 public:
  explicit DivergedError(const Fault& fault) : Error(ExitCode::diverged, to_text(fault)) {}
};

/// Throws std::logic_error when a caller broke a contract. For code outside the step.
inline void check(bool condition, std::string_view contract) {
  if (!condition) throw std::logic_error("broken contract: " + std::string(contract));
}

}  // namespace dtrain
