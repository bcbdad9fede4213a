// Comparing ranks at the start; see same_program.hpp.
#include "trainer/same_program.hpp"

#include <vector>

#include "collectives/agreement.hpp"
#include "collectives/first_words.hpp"
#include "collectives/launcher.hpp"
#include "collectives/mpi_library.hpp"
#include "dtrain/cpu.hpp"
#include "trainer/version.hpp"

namespace dtrain {

namespace {

/// How the launcher sets a variable for every rank.
std::string setting_everywhere(const std::string& name, const std::string& value) {
  const auto launched = launched_ranks(own_environment());
  const LauncherKind kind = launched ? launched->kind : LauncherKind::other;
  if (kind == LauncherKind::open_mpi) return "mpirun -x " + name + "=" + value + " …";
  if (kind == LauncherKind::hydra) return "mpiexec -genv " + name + " " + value + " …";
  return name + "=" + value + " in the environment of every rank";
}

}  // namespace

void require_same_program() {
  require_same_words(
      {{"dtrain version", version_text()}, {"oneDNN version", onednn_version()}, {"MPI library", linked_mpi_library().version}},
      "one build of dtrain and the same libraries on every host (`dtrain --version` and `ldd` of dtrain tell)");
}

std::optional<Fault> find_mixed_cpus(const Communicator& communicator) {
  const std::string name = "instructions";
  std::vector<RankValues> ranks;
  std::vector<std::string> sets;
  for (const std::string& text :
       communicator.gather_texts(to_text(RankValues{.host = host_name(), .values = {{name, instruction_set()}}}))) {
    ranks.push_back(read_rank_values(text, static_cast<int>(ranks.size())));
    sets.push_back(ranks.back().values.at(0).value);
  }
  const std::string differences = describe_differences(ranks);
  if (differences.empty()) return std::nullopt;
  const std::string common = common_instruction_set(sets);
  return Fault{.doing = "comparing the CPUs of the ranks",
               .expected = "the same on every rank",
               .found = differences + ": the slowest sets the pace, and the bits of a run depend on which rank runs where",
               .remedy = common.empty() ? "hosts of one kind" : setting_everywhere("ONEDNN_MAX_CPU_ISA", common)};
}

}  // namespace dtrain
