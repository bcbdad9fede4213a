// Reading, writing and consulting the table of algorithms.
#include "schedules/algorithms.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "dtrain/error.hpp"

namespace dtrain {

namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

struct AlgorithmName {
  AllReduceAlgorithm algorithm;
  const char* name;
};
constexpr std::array<AlgorithmName, 7> kNames{{{AllReduceAlgorithm::automatic, "auto"},
                                               {AllReduceAlgorithm::shm, "shm"},
                                               {AllReduceAlgorithm::ring, "ring"},
                                               {AllReduceAlgorithm::halving_doubling, "halving-doubling"},
                                               {AllReduceAlgorithm::hierarchical, "hierarchical"},
                                               {AllReduceAlgorithm::mpi, "mpi"},
                                               {AllReduceAlgorithm::none, "none"}}};

struct SizeUnit {
  char letter;
  std::int64_t bytes;
};
constexpr std::array<SizeUnit, 3> kUnits{
    {{'G', std::int64_t{1} << 30}, {'M', std::int64_t{1} << 20}, {'K', std::int64_t{1} << 10}}};

[[noreturn]] void refuse_table(std::string_view text, const std::string& expected, std::string_view found) {
  throw ConfigError(Fault{.doing = "reading --allreduce " + std::string(text),
                          .expected = expected,
                          .found = "'" + std::string(found) + "'",
                          .remedy = "--allreduce auto, or a table such as halving-doubling:0-64K;ring:64K-max"});
}

std::int64_t parse_size(std::string_view size, std::string_view text) {
  if (size == "max") return kNoLimit;
  std::int64_t number = 0;
  const char* const end = size.data() + size.size();
  const auto [rest, fault] = std::from_chars(size.data(), end, number);
  std::int64_t unit = 1;
  if (fault == std::errc{} && rest + 1 == end) {
    for (const SizeUnit& candidate : kUnits) {
      if (*rest == candidate.letter) unit = candidate.bytes;
    }
  }
  const bool is_read = fault == std::errc{} && number >= 0 && (rest == end || unit > 1) && number <= kNoLimit / unit;
  if (!is_read) refuse_table(text, "a size in bytes such as 65536, 64K, 8M, or max", size);
  return number * unit;
}

std::string size_text(std::int64_t bytes) {
  if (bytes == kNoLimit) return "max";
  for (const SizeUnit& unit : kUnits) {
    if (bytes > 0 && bytes % unit.bytes == 0) return std::to_string(bytes / unit.bytes) + unit.letter;
  }
  return std::to_string(bytes);
}

/// "ring:64K-max", which must begin where the rows so far end.
AlgorithmTable::Row parse_row(std::string_view row, std::int64_t begin_bytes, std::string_view text) {
  const std::size_t colon = row.find(':');
  const std::size_t dash = row.rfind('-');
  if (colon == std::string_view::npos || dash == std::string_view::npos || dash < colon) {
    refuse_table(text, "rows algorithm:from-to", row);
  }
  const AllReduceAlgorithm algorithm = parse_all_reduce(row.substr(0, colon));
  if (algorithm == AllReduceAlgorithm::automatic) refuse_table(text, "algorithms in the rows", row);
  if (parse_size(row.substr(colon + 1, dash - colon - 1), text) != begin_bytes) {
    refuse_table(text, "a row that begins at " + size_text(begin_bytes), row);
  }
  const std::int64_t end_bytes = parse_size(row.substr(dash + 1), text);
  if (end_bytes <= begin_bytes) refuse_table(text, "a row that ends after " + size_text(begin_bytes), row);
  return {.algorithm = algorithm, .below_bytes = end_bytes};
}

}  // namespace

AllReduceAlgorithm parse_all_reduce(std::string_view name) {
  std::string known;
  for (const AlgorithmName& entry : kNames) {
    if (name == entry.name) return entry.algorithm;
    known += (known.empty() ? "" : ", ") + std::string(entry.name);
  }
  throw ConfigError(Fault{.doing = "choosing --allreduce",
                          .expected = "one of " + known,
                          .found = "\"" + std::string(name) + "\"",
                          .remedy = "auto"});
}

std::string to_text(AllReduceAlgorithm algorithm) {
  const auto entry = std::find_if(kNames.begin(), kNames.end(),
                                  [&](const AlgorithmName& candidate) { return candidate.algorithm == algorithm; });
  check(entry != kNames.end(), "to_text: an all-reduce algorithm with a name");
  return entry->name;
}

AlgorithmTable::AlgorithmTable(AllReduceAlgorithm algorithm) : rows_{{algorithm, kNoLimit}} {}

AlgorithmTable::AlgorithmTable(std::vector<Row> rows) : rows_(std::move(rows)) {
  check(!rows_.empty(), "AlgorithmTable: at least one row");
  for (std::size_t i = 1; i < rows_.size(); ++i) {
    check(rows_[i].below_bytes > rows_[i - 1].below_bytes, "AlgorithmTable: ascending sizes");
  }
}

AllReduceAlgorithm AlgorithmTable::choose(std::int64_t bytes) const {
  const auto row =
      std::find_if(rows_.begin(), rows_.end() - 1, [&](const Row& candidate) { return bytes < candidate.below_bytes; });
  return row->algorithm;
}

bool AlgorithmTable::uses(AllReduceAlgorithm algorithm) const {
  return std::any_of(rows_.begin(), rows_.end(), [&](const Row& row) { return row.algorithm == algorithm; });
}

AlgorithmTable parse_algorithm_table(std::string_view text) {
  if (text.find(':') == std::string_view::npos) return parse_all_reduce(text);
  std::vector<AlgorithmTable::Row> rows;
  std::int64_t begin_bytes = 0;
  for (std::string_view rest = text;;) {
    const std::size_t end = rest.find(';');
    rows.push_back(parse_row(rest.substr(0, end), begin_bytes, text));
    begin_bytes = rows.back().below_bytes;
    if (end == std::string_view::npos) break;
    rest.remove_prefix(end + 1);
  }
  if (begin_bytes != kNoLimit) refuse_table(text, "a last row that ends at max", size_text(begin_bytes));
  return AlgorithmTable(std::move(rows));
}

std::string to_text(const AlgorithmTable& table) {
  if (table.rows().size() == 1) return to_text(table.rows().front().algorithm);
  std::string text;
  std::int64_t begin_bytes = 0;
  for (const AlgorithmTable::Row& row : table.rows()) {
    text +=
        (text.empty() ? "" : ";") + to_text(row.algorithm) + ":" + size_text(begin_bytes) + "-" + size_text(row.below_bytes);
    begin_bytes = row.below_bytes;
  }
  return text;
}

}  // namespace dtrain
