// Bytes of all ranks to the root, in pieces.
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

#include "collectives/gather_pieces.hpp"

namespace dtrain {
namespace {

/// Another number of bytes on each rank, none on some.
std::string bytes_of(int rank) { return std::string(static_cast<std::size_t>(rank % 3 == 1 ? 0 : 5 * rank + 7), static_cast<char>('a' + rank)); }

TEST(GatherInPieces, GivesTheRootAllBytesInTheOrderOfTheRanks) {
  const Communicator communicator;
  const std::string mine = bytes_of(communicator.rank());
  std::string expected;
  for (int rank = 0; rank < communicator.size(); ++rank) expected += bytes_of(rank);
  for (const std::size_t piece_bytes : {std::size_t{1}, std::size_t{7}, std::size_t{1000}, kPieceBytes}) {
    std::string all;
    std::size_t largest = 0;

    gather_in_pieces(
        communicator, std::as_bytes(std::span(mine)),
        [&](std::span<const std::byte> piece) {
          all.append(reinterpret_cast<const char*>(piece.data()), piece.size());
          largest = std::max(largest, piece.size());
        },
        piece_bytes);

    EXPECT_EQ(all, communicator.is_root() ? expected : "");
    EXPECT_LE(largest, piece_bytes);
  }
}

}  // namespace
}  // namespace dtrain
