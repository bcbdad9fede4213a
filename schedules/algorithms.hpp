// Names of the all-reduce algorithms, and the table that says which one sums a slice of a given size.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// shm: straight out of and into node-shared memory. ring, halving_doubling: all ranks alike, by messages. hierarchical: sums
/// in node-shared memory, and every local rank exchanges its shard with its counterparts on the other nodes. mpi:
/// MPI_Allreduce. none: every rank keeps its own. automatic: a table, from the cost model.
enum class AllReduceAlgorithm { automatic, shm, ring, halving_doubling, hierarchical, mpi, none };

/// "auto", "shm", "ring", "halving-doubling", "hierarchical", "mpi", "none". Errors: ConfigError names the known ones.
AllReduceAlgorithm parse_all_reduce(std::string_view name);
std::string to_text(AllReduceAlgorithm algorithm);

/// Which algorithm for how many bytes.
class AlgorithmTable {
 public:
  struct Row {
    AllReduceAlgorithm algorithm = AllReduceAlgorithm::none;
    std::int64_t below_bytes = 0;  ///< sizes from the row before's to below this
    bool operator==(const Row&) const = default;
  };

  /// One algorithm for all sizes.
  AlgorithmTable(AllReduceAlgorithm algorithm);  // NOLINT(google-explicit-constructor): an algorithm is the shortest table
  /// Rows in ascending order of sizes; the last one holds for everything above too.
  explicit AlgorithmTable(std::vector<Row> rows);

  AllReduceAlgorithm choose(std::int64_t bytes) const;
  const std::vector<Row>& rows() const { return rows_; }
  bool is_automatic() const { return rows_.front().algorithm == AllReduceAlgorithm::automatic; }
  bool uses(AllReduceAlgorithm algorithm) const;
  bool operator==(const AlgorithmTable&) const = default;

 private:
  std::vector<Row> rows_;  ///< never empty
};

/// A name, or rows without gaps "halving-doubling:0-64K;hierarchical:64K-max"; sizes in bytes, with K, M or G for 2¹⁰, 2²⁰,
/// 2³⁰. Errors: ConfigError: unknown name, gap, overlap, a size that is none, auto as a row.
AlgorithmTable parse_algorithm_table(std::string_view text);
/// Readable by parse_algorithm_table.
std::string to_text(const AlgorithmTable& table);

}  // namespace dtrain
