// Piece by piece to the root; see gather_pieces.hpp.
#include "collectives/gather_pieces.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"

namespace dtrain {
namespace {

constexpr int kPieceTag = 11;

void await_piece(const Communicator& communicator, MPI_Request request, const char* doing, int rank) {
  const std::string text = doing + std::to_string(communicator.job_rank(rank));
  wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kCollectiveTimeout_s, .watch = &communicator.watch()},
                    [&text] { return text; });
}

void send_to_root(const Communicator& communicator, std::span<const std::byte> bytes) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Isend(bytes.data(), mpi_count(std::ssize(bytes)), MPI_BYTE, 0, kPieceTag, communicator.handles().world, &request),
            "MPI_Isend");
  await_piece(communicator, request, "sending a piece to rank ", 0);
}

void receive_from(const Communicator& communicator, int rank, std::span<std::byte> bytes) {
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Irecv(bytes.data(), mpi_count(std::ssize(bytes)), MPI_BYTE, rank, kPieceTag, communicator.handles().world,
                      &request),
            "MPI_Irecv");
  await_piece(communicator, request, "receiving a piece from rank ", rank);
}

}  // namespace

void gather_in_pieces(const Communicator& communicator, std::span<const std::byte> mine,
                      const std::function<void(std::span<const std::byte> piece)>& take, std::size_t piece_bytes) {
  check(piece_bytes > 0, "gather_in_pieces: pieces of some bytes");
  const auto piece_by_piece = [piece_bytes](std::span<const std::byte> bytes, const auto& action) {
    for (; !bytes.empty(); bytes = bytes.subspan(std::min(bytes.size(), piece_bytes))) {
      action(bytes.first(std::min(bytes.size(), piece_bytes)));
    }
  };
  if (!communicator.is_root()) {
    const std::uint64_t size = mine.size();
    send_to_root(communicator, std::as_bytes(std::span(&size, 1)));
    piece_by_piece(mine, [&](std::span<const std::byte> piece) { send_to_root(communicator, piece); });
    return;
  }
  piece_by_piece(mine, take);
  std::vector<std::byte> buffer;
  for (int rank = 1; rank < communicator.size(); ++rank) {
    std::uint64_t left = 0;
    receive_from(communicator, rank, std::as_writable_bytes(std::span(&left, 1)));
    while (left > 0) {
      buffer.resize(std::min<std::uint64_t>(left, piece_bytes));
      receive_from(communicator, rank, buffer);
      take(buffer);
      left -= buffer.size();
    }
  }
}

}  // namespace dtrain
