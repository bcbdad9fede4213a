// Compares the launcher's word with MPI's; see joining.hpp.
#include "collectives/joining.hpp"

#include "collectives/communicator.hpp"

namespace dtrain {

namespace {

std::string remedy_for(const LaunchedRanks& launched, const MpiLibrary& library) {
  const std::string own = library.launcher.empty() ? "the mpirun" : library.launcher + " …, the mpirun";
  const std::string of_library = own + " of the MPI library that dtrain is linked with";
  if (launched.kind != LauncherKind::srun) return of_library;
  const std::string wire = library.version.starts_with("Open MPI") ? "pmix" : "pmi2";
  return "srun --mpi=" + wire + " … (srun --mpi=list shows what there is), or inside sbatch or salloc " + of_library;
}

Fault not_joined(const LaunchedRanks& launched, const MpiLibrary& library, const std::string& reason) {
  const std::string linked = library.version + (library.file.empty() ? "" : " (" + library.file + ")");
  return {.doing = "joining the ranks of this job on " + host_name(),
          .expected = (launched.is_exact ? "" : "at least ") + std::to_string(launched.at_least) + " ranks, which " +
                      launched.name + " started (" + launched.variable + ")",
          .found = reason + linked + ": every process is alone and would train the same network for itself",
          .remedy = remedy_for(launched, library)};
}

[[noreturn]] void refuse(const Fault& fault) {
  const auto launched = launched_ranks(own_environment());
  check(launched.has_value(), "refuse: a launcher was found");
  // Process 0 speaks; where the launcher does not tell it that there are others, process 1.
  throw NotJoinedError(fault, launched->rank == 0 || (!launched->is_exact && launched->rank == 1));
}

}  // namespace

std::optional<Fault> find_unjoinable(const Environment& environment, const MpiLibrary& library) {
  const auto launched = launched_ranks(environment);
  const bool has_pmix = environment("PMIX_RANK") != nullptr || environment("PMIX_NAMESPACE") != nullptr;
  if (!launched || launched->kind != LauncherKind::srun || launched->at_least <= 1 || has_pmix) return std::nullopt;
  if (!speaks_pmix_alone(library)) return std::nullopt;
  return not_joined(*launched, library, "no PMIx, over which they would find each other in ");
}

std::optional<Fault> find_alone(const Environment& environment, const MpiLibrary& library) {
  const auto launched = launched_ranks(environment);
  if (!launched || launched->at_least <= 1) return std::nullopt;
  return not_joined(*launched, library, "1 in ");
}

void refuse_unjoinable() {
  if (const auto fault = find_unjoinable(own_environment(), linked_mpi_library())) refuse(*fault);
}

void refuse_alone(int size) {
  if (size > 1) return;
  if (const auto fault = find_alone(own_environment(), linked_mpi_library())) refuse(*fault);
}

}  // namespace dtrain
