// The root's work and its outcome; see on_root.hpp.
#include "trainer/on_root.hpp"

#include <string>

#include "dtrain/error.hpp"

namespace dtrain {

void on_root(const Communicator& communicator, const std::function<void()>& action) {
  std::string text;
  int exit_code = 0;
  if (communicator.is_root()) {
    try {
      action();
    } catch (const Error& error) {
      text = error.what();
      exit_code = static_cast<int>(error.exit_code());
    }
  }
  const std::string outcome = communicator.broadcast_text(std::to_string(exit_code) + " " + text);
  const int code = std::stoi(outcome);
  const std::string message = outcome.substr(outcome.find(' ') + 1);
  if (code == static_cast<int>(ExitCode::usage)) throw ConfigError(message);
  if (code != 0) throw DataError(message);
}

}  // namespace dtrain
