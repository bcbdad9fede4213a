// Whether the processes of ranks on this machine still run, by what the kernel says of them in /proc: a rank that was killed is
// known within a tenth of a second, without a message.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace dtrain {

/// A process, as others can recognise it: a number is given to another process once its owner has ended.
struct ProcessIdentity {
  std::int64_t pid = 0;
  std::uint64_t started = 0;  ///< clock ticks after the machine's start
  std::string numbering;      ///< the namespace in which pid counts; other namespaces do not know this number

  bool operator==(const ProcessIdentity&) const = default;
};

/// This process; none where /proc does not tell.
std::optional<ProcessIdentity> own_process();

/// Why a process is about to end that was not killed.
enum class Leaving {
  by_own_error,  ///< of which it speaks itself
  others_lost,   ///< as every other rank will find
};
/// Lets the other processes of this machine see that this one is about to end, by its name in /proc.
void show_leaving(Leaving why);

enum class ProcessState {
  running,
  stopped,
  leaving,  ///< also when it has ended since
  ended,
};

class RankProcesses {
 public:
  struct Entry {
    int rank = 0;
    ProcessIdentity process;  ///< in this process's numbering
  };
  explicit RankProcesses(const std::vector<Entry>& entries);

  /// Looks at the next few processes, in turn. Result: the rank of one that has ended without being seen leaving before. Cost:
  /// about 10 µs a process, no allocation.
  std::optional<int> find_ended();
  /// The rank of a process that find_ended has seen stopped, whenever it looked, for so long since forget_stops.
  std::optional<int> find_stopped(double now_s, double for_s);
  void forget_stops();
  /// Whether find_ended has seen one leaving by an error of its own.
  bool has_own_error() const;
  /// None: that rank is not on this machine. A process that merely waits to be collected has ended. What cannot be found out
  /// (too many open files, say) counts as running.
  std::optional<ProcessState> state(int rank) const;
  /// 0: that rank is not on this machine.
  std::int64_t pid(int rank) const;

 private:
  struct Process {
    int rank = 0;
    std::int64_t pid = 0;
    std::uint64_t started = 0;
    std::array<char, 32> path{};  ///< of what the kernel says of it
    bool was_leaving = false;
    bool had_own_error = false;
    bool is_stopped = false;
    double stopped_since_s = 0.0;  ///< 0: find_stopped has not heard of it yet
  };
  static ProcessState state_of(const Process& process, bool* has_own_error = nullptr);
  const Process* find(int rank) const;

  std::vector<Process> processes_;
  std::size_t next_ = 0;
};

}  // namespace dtrain
