// Brings what is too much for one message, or for the root's memory, to the root in pieces.
#pragma once

#include <cstddef>
#include <functional>
#include <span>

#include "collectives/communicator.hpp"

namespace dtrain {

inline constexpr std::size_t kPieceBytes = std::size_t{64} << 20;

/// Hands the bytes of all ranks to `take` on the root, rank after rank, in pieces of at most piece_bytes; each rank may have
/// another number of bytes, also none. The root keeps one piece in memory. Collective. Errors: what `take` throws, on the root;
/// CommError.
void gather_in_pieces(const Communicator& communicator, std::span<const std::byte> mine,
                      const std::function<void(std::span<const std::byte> piece)>& take, std::size_t piece_bytes = kPieceBytes);

}  // namespace dtrain
