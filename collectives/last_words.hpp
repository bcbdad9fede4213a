// Open MPI ends a process by itself when a connection breaks over which it was sending. Here the process gets to say first what
// it was doing, and what ranks it was sending to.
#pragma once

#include <functional>

namespace dtrain {

/// While it lives, the MPI library calls `speak` before it ends this process of its own accord, on the thread that is in MPI,
/// which then must not call MPI. The process ends kSpeaking_s later, so that other ranks get to speak, too, with the exit code
/// of lost communication. At most one; MpiSession::abort speaks for itself. Open MPI alone does so; others return an error.
class LastWords {
 public:
  explicit LastWords(std::function<void()> speak);
  ~LastWords();
  LastWords(const LastWords&) = delete;
  LastWords& operator=(const LastWords&) = delete;

  /// From here on nothing more is said: this process ends itself.
  static void withhold();

  static constexpr double kSpeaking_s = 1.5;

 private:
  std::function<void()> speak_;
};

}  // namespace dtrain
