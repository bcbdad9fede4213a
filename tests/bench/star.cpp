// Rank 0 and the ranks 1 to PEERS: all of them send to rank 0 at once (in), or it to all of them (out). Then every rank ends
// with an exit code. Rank 0 says how many nodes there are.
//   mpirun … star in|out BYTES PEERS EXIT_CODE
#include <mpi.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "collectives/communicator.hpp"
#include "collectives/mpi_handles.hpp"

namespace {

void exchange(const dtrain::Communicator& communicator, bool inwards, int bytes, int peers) {
  if (communicator.is_root()) std::printf("%d ranks on %d nodes\n", communicator.size(), communicator.nodes());
  if (communicator.rank() > peers) return;
  const int first = communicator.is_root() ? 1 : 0;
  const int last = communicator.is_root() ? peers : 0;
  const bool sends = communicator.is_root() != inwards;
  std::vector<std::vector<char>> messages;
  std::vector<MPI_Request> requests;
  for (int other = first; other <= last; ++other) {
    const char sender = static_cast<char>(sends ? communicator.rank() : other);
    std::vector<char>& message = messages.emplace_back(static_cast<std::size_t>(bytes), sends ? sender : static_cast<char>(-1));
    MPI_Comm const world = communicator.handles().world;
    MPI_Request& request = requests.emplace_back();
    const int status = sends ? MPI_Isend(message.data(), bytes, MPI_CHAR, other, 0, world, &request)
                             : MPI_Irecv(message.data(), bytes, MPI_CHAR, other, 0, world, &request);
    dtrain::check_mpi(status, "sending or receiving");
  }
  dtrain::check_mpi(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE), "MPI_Waitall");
  for (int other = first; other <= last; ++other) {
    const char sender = static_cast<char>(sends ? communicator.rank() : other);
    if (std::ranges::count(messages[static_cast<std::size_t>(other - first)], sender) != bytes) dtrain::MpiSession::abort(99);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const dtrain::MpiSession session(&argc, &argv);
  const std::span<char*> arguments(argv, static_cast<std::size_t>(argc));
  if (arguments.size() != 5) dtrain::MpiSession::abort(98);
  exchange(dtrain::Communicator(), arguments[1] == std::string_view("in"), std::stoi(arguments[2]), std::stoi(arguments[3]));
  return std::stoi(arguments[4]);
}
