// Reads the launchers' variables, innermost launcher first.
#include "collectives/launcher.hpp"

#include <charconv>
#include <cstring>

namespace dtrain {

namespace {

std::optional<int> whole_number(const char* text) {
  if (text == nullptr) return std::nullopt;
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

// Note [The innermost launcher counts]
// mpirun and Hydra start their daemons through srun when they find themselves in a SLURM job, so their processes carry
// SLURM's variables too, with the number of daemons; `mpirun -np 1` in a job of four nodes is one rank and right. A batch
// script itself has SLURM_NTASKS and SLURM_PROCID=0; only a step that srun started has SLURM_STEP_NUM_TASKS.
std::optional<LaunchedRanks> launched_ranks(const std::function<const char*(const char* name)>& environment) {
  const auto counted = [&](const char* name) { return whole_number(environment(name)); };
  if (const auto ranks = counted("OMPI_COMM_WORLD_SIZE")) {
    return LaunchedRanks{.launcher = "mpirun (Open MPI)",
                         .variable = "OMPI_COMM_WORLD_SIZE=" + std::to_string(*ranks),
                         .at_least = *ranks,
                         .remedy = "start dtrain with the mpirun of the MPI library it is linked with (ldd shows it)"};
  }
  if (const auto ranks = counted("PMI_SIZE")) {
    return LaunchedRanks{.launcher = "mpiexec (Hydra) or srun --mpi=pmi2",
                         .variable = "PMI_SIZE=" + std::to_string(*ranks),
                         .at_least = *ranks,
                         .remedy =
                             "start dtrain with the mpirun of the MPI library it is linked with (ldd shows it), or with "
                             "srun --mpi=pmix"};
  }
  const auto step_tasks = counted("SLURM_STEP_NUM_TASKS");
  if (step_tasks && counted("SLURM_PROCID")) {
    return LaunchedRanks{.launcher = "srun",
                         .variable = "SLURM_STEP_NUM_TASKS=" + std::to_string(*step_tasks),
                         .at_least = *step_tasks,
                         .remedy = "srun --mpi=pmix (srun --mpi=list shows what there is), or mpirun inside sbatch"};
  }
  if (const auto own = counted("PMIX_RANK")) {
    return LaunchedRanks{.launcher = "a PMIx launcher",
                         .variable = "PMIX_RANK=" + std::to_string(*own),
                         .at_least = *own + 1,
                         .remedy = "start dtrain with the mpirun of the MPI library it is linked with (ldd shows it)"};
  }
  return std::nullopt;
}

}  // namespace dtrain
