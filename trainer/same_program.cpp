// Comparing ranks at the start; see same_program.hpp.
#include "trainer/same_program.hpp"

#include "collectives/first_words.hpp"
#include "collectives/mpi_library.hpp"
#include "dtrain/cpu.hpp"
#include "trainer/version.hpp"

namespace dtrain {

void require_same_program() {
  require_same_words(
      {{"dtrain version", version_text()}, {"oneDNN version", onednn_version()}, {"MPI library", linked_mpi_library().version}},
      "one build of dtrain and the same libraries on every host (`dtrain --version` and `ldd` of dtrain tell)");
}

}  // namespace dtrain
