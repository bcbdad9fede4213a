// Carries the tables of a StallWatch between ranks over MPI, on a communicator of its own, without ever waiting.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "collectives/stall_watch.hpp"

namespace dtrain {

class NoticeMail {
 public:
  /// comm: of its own, all ranks; outlives this.
  NoticeMail(MPI_Comm comm, int size);
  /// Reads what has arrived, so that the communicator can be freed. What is still under way to ranks that never fetched it
  /// stays MPI's, memory included.
  ~NoticeMail();
  NoticeMail(const NoticeMail&) = delete;
  NoticeMail& operator=(const NoticeMail&) = delete;

  /// As StallWatch::Links says. Errors: CommError: MPI.
  bool send(int rank, std::span<const std::uint32_t> table);
  bool receive(std::span<std::uint32_t> table);
  static void hush(bool is_hushed);

 private:
  /// A table under way to a rank. Its memory must stay where it is until MPI is done.
  struct Letter {
    int rank = 0;
    MPI_Request request = MPI_REQUEST_NULL;
    std::unique_ptr<std::uint32_t[]> table;
  };
  Letter& letter_to(int rank);

  MPI_Comm comm_;
  int size_;
  std::vector<Letter> letters_;
  MPI_Request arriving_ = MPI_REQUEST_NULL;
  std::unique_ptr<std::uint32_t[]> arriving_table_;
};

}  // namespace dtrain
