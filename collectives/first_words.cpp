// Exchanges of records on MPI_COMM_WORLD; see first_words.hpp.
#include "collectives/first_words.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "collectives/agreement.hpp"
#include "collectives/mpi_handles.hpp"
#include "dtrain/error.hpp"

namespace dtrain {

namespace {

// Note [The first words never change]
// Two versions understand each other's words only while both exchange them in the same way: as the first collective on
// MPI_COMM_WORLD, in records of this many bytes with zeros behind the text, in the form of to_text(RankValues). What the words
// are, and how many, may change.
constexpr std::size_t kRecordBytes = 1024;
constexpr std::size_t kLongestWord = 200;

/// MPI_Init has brought the ranks together, so that nobody is late for long; a version that knows no first words never comes.
constexpr double kFirstWordsTimeout_s = 120.0;

int ranks_of_world() {
  int size = 1;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  return size;
}

/// One record of each rank, all of the same size, behind each other.
std::vector<char> gather_records(const std::vector<char>& record, int ranks, const char* waiting_for) {
  std::vector<char> records(record.size() * static_cast<std::size_t>(ranks));
  const int bytes = mpi_count(std::ssize(record));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(MPI_Iallgather(record.data(), bytes, MPI_CHAR, records.data(), bytes, MPI_CHAR, MPI_COMM_WORLD, &request),
            "MPI_Iallgather");
  wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kFirstWordsTimeout_s},
                    [waiting_for] { return std::string(waiting_for); });
  return records;
}

/// The texts of records, each without the zeros behind it.
std::vector<RankValues> read_records(const std::vector<char>& records, std::size_t bytes) {
  std::vector<RankValues> ranks;
  for (std::size_t begin = 0; begin < records.size(); begin += bytes) {
    std::string received(records.data() + begin, bytes);
    received.erase(received.find_last_not_of('\0') + 1);
    ranks.push_back(read_rank_values(received, static_cast<int>(ranks.size())));
  }
  return ranks;
}

}  // namespace

void require_same_words(const std::vector<Communicator::NamedValue>& words, const std::string& remedy) {
  RankValues own{.host = host_name().substr(0, kLongestWord), .values = {}};
  for (const auto& [name, value] : words) own.values.push_back({.name = name, .value = value.substr(0, kLongestWord)});
  const std::string text = to_text(own);
  check(text.size() <= kRecordBytes, "require_same_words: a few short words");
  std::vector<char> record(kRecordBytes);
  std::ranges::copy(text, record.begin());
  const std::vector<char> records =
      gather_records(record, ranks_of_world(), "waiting for all ranks to say which dtrain they are (an old one does not)");
  const std::string differences = describe_differences(read_records(records, kRecordBytes));
  if (differences.empty()) return;
  throw CommError(Fault{.doing = "comparing the programs of the ranks",
                        .expected = "the same on every rank",
                        .found = differences,
                        .remedy = remedy});
}

std::string find_different_words(const std::vector<Communicator::NamedValue>& words) {
  constexpr const char* kWaiting = "waiting for all ranks to say what they were told";
  const int ranks = ranks_of_world();
  const std::string text = to_text(RankValues{.host = host_name(), .values = words});
  std::vector<char> length(sizeof(std::uint64_t));
  const std::uint64_t own_length = text.size();
  std::memcpy(length.data(), &own_length, sizeof(own_length));
  const std::vector<char> lengths = gather_records(length, ranks, kWaiting);
  std::uint64_t longest = 0;
  for (std::size_t at = 0; at < lengths.size(); at += sizeof(own_length)) {
    std::uint64_t one = 0;
    std::memcpy(&one, lengths.data() + at, sizeof(one));
    longest = std::max(longest, one);
  }
  std::vector<char> record(longest);
  std::ranges::copy(text, record.begin());
  return describe_differences(read_records(gather_records(record, ranks, kWaiting), longest));
}

}  // namespace dtrain
