// Reads the launchers' variables, innermost launcher first.
#include "collectives/launcher.hpp"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>

namespace dtrain {

namespace {

std::optional<int> whole_number(const char* text) {
  if (text == nullptr) return std::nullopt;
  int value = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, value);
  if (error != std::errc() || stop != end || value < 0) return std::nullopt;
  return value;
}

}  // namespace

Environment own_environment() {
  return [](const char* name) -> const char* { return std::getenv(name); };
}

// Note [The innermost launcher counts]
// mpirun and Hydra start their daemons through srun when they find themselves in a SLURM job, so their processes carry
// SLURM's variables too, with the number of daemons; `mpirun -np 1` in a job of four nodes is one rank and right. A batch
// script itself has SLURM_NTASKS and SLURM_PROCID=0; only a step that srun started has SLURM_STEP_NUM_TASKS.
std::optional<LaunchedRanks> launched_ranks(const Environment& environment) {
  const auto number = [&](const char* name) { return whole_number(environment(name)); };
  const auto told = [&](LauncherKind kind, const char* name, const char* size_variable, const char* rank_variable) {
    const int size = number(size_variable).value_or(1);
    return LaunchedRanks{.kind = kind,
                         .name = name,
                         .variable = size_variable + ("=" + std::to_string(size)),
                         .rank_variable = rank_variable,
                         .rank = number(rank_variable).value_or(0),
                         .at_least = size};
  };
  const char* const hydra = "mpiexec (Hydra, of MPICH or Intel MPI)";
  const auto step_tasks = number("SLURM_STEP_NUM_TASKS");
  const bool is_in_step = step_tasks && number("SLURM_PROCID");
  const auto pmi_ranks = number("PMI_SIZE");
  const auto local_ranks = number("MPI_LOCALNRANKS");  // Hydra's, and no size beside it when that goes over a port (PMI_PORT)

  if (number("OMPI_COMM_WORLD_SIZE")) {
    return told(LauncherKind::open_mpi, "mpirun (Open MPI)", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK");
  }
  if (pmi_ranks && !local_ranks && is_in_step && pmi_ranks == step_tasks) {
    return told(LauncherKind::srun, "srun --mpi=pmi2", "PMI_SIZE", "SLURM_PROCID");
  }
  if (pmi_ranks) return told(LauncherKind::hydra, hydra, "PMI_SIZE", "PMI_RANK");
  if (local_ranks && number("PMI_ID")) {
    LaunchedRanks launched = told(LauncherKind::hydra, hydra, "MPI_LOCALNRANKS", "PMI_ID");
    launched.at_least = std::max(launched.at_least, launched.rank + 1);
    launched.is_exact = false;
    return launched;
  }
  if (is_in_step) return told(LauncherKind::srun, "srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID");
  if (const auto own = number("PMIX_RANK")) {
    LaunchedRanks launched = told(LauncherKind::other, "a PMIx launcher", "PMIX_RANK", "PMIX_RANK");
    launched.at_least = *own + 1;
    launched.is_exact = false;
    return launched;
  }
  return std::nullopt;
}

}  // namespace dtrain
