// Whether ranks were given the same: pure comparison and the message about what differs.
#pragma once

#include <string>
#include <vector>

#include "collectives/communicator.hpp"

namespace dtrain {

/// What one rank was given.
struct RankValues {
  int rank = 0;  ///< as messages call it
  std::string host;
  std::vector<Communicator::NamedValue> values;
};

/// As one text, for the way between ranks; read_rank_values(to_text(v), v.rank) gives v back. Any bytes may occur in it. What
/// to_text did not write comes from another version: it is read as a rank without values on an unknown host.
std::string to_text(const RankValues& rank_values);
RankValues read_rank_values(const std::string& text, int rank);

/// What differs from rank 0, with the ranks and hosts concerned, e.g. `configuration: "…--lr 0.1…" on rank 0 (host n1) but
/// "…--lr 0.2…" on rank 3 (host n2); ranks that differ: 3–5, 9 (hosts n2, n5)`; empty when nothing does.
std::string describe_differences(const std::vector<RankValues>& ranks);

/// "0, 3–5, 9"; ascending input.
std::string to_rank_list(const std::vector<int>& ranks);

}  // namespace dtrain
