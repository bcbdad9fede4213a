// What the environment says about the launcher of this process and about how many processes it started.
#pragma once

#include <functional>
#include <optional>
#include <string>

namespace dtrain {

/// Value of a variable of the environment, nullptr when unset.
using Environment = std::function<const char*(const char* name)>;
/// That of this process.
Environment own_environment();

/// Families of launchers; other: what speaks PMI or PMIx and names itself no further.
enum class LauncherKind { open_mpi, hydra, srun, other };

/// A launcher's word on the job.
struct LaunchedRanks {
  LauncherKind kind = LauncherKind::other;
  std::string name;           ///< "mpirun (Open MPI)"
  std::string variable;       ///< what tells their number: "OMPI_COMM_WORLD_SIZE=4"
  std::string rank_variable;  ///< set in each of the processes, and not in the launcher: "OMPI_COMM_WORLD_RANK"
  int rank = 0;               ///< this process among those that were started
  int at_least = 1;           ///< processes started
  bool is_exact = true;  ///< no more than these; some launchers tell each process only its own number, or those of its host
};

/// The launcher closest to this process, or none.
std::optional<LaunchedRanks> launched_ranks(const Environment& environment);

}  // namespace dtrain
