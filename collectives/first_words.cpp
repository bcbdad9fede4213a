// One exchange of records on MPI_COMM_WORLD; see first_words.hpp.
#include "collectives/first_words.hpp"

#include <algorithm>
#include <array>

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

}  // namespace

void require_same_words(const std::vector<Communicator::NamedValue>& words, const std::string& remedy) {
  int size = 1;
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size), "MPI_Comm_size");
  RankValues own{.host = host_name().substr(0, kLongestWord), .values = {}};
  for (const auto& [name, value] : words) own.values.push_back({.name = name, .value = value.substr(0, kLongestWord)});
  const std::string text = to_text(own);
  check(text.size() <= kRecordBytes, "require_same_words: a few short words");
  std::array<char, kRecordBytes> record{};
  std::copy(text.begin(), text.end(), record.begin());

  std::vector<char> records(kRecordBytes * static_cast<std::size_t>(size));
  MPI_Request request = MPI_REQUEST_NULL;
  check_mpi(
      MPI_Iallgather(record.data(), kRecordBytes, MPI_CHAR, records.data(), kRecordBytes, MPI_CHAR, MPI_COMM_WORLD, &request),
      "MPI_Iallgather");
  wait_for_requests({&request, 1}, {.spins = 1000, .timeout_s = kFirstWordsTimeout_s},
                    [] { return std::string("waiting for all ranks to say which dtrain they are (an old one does not)"); });

  std::vector<RankValues> ranks;
  for (std::size_t begin = 0; begin < records.size(); begin += kRecordBytes) {
    std::string received(records.data() + begin, kRecordBytes);
    received.erase(received.find_last_not_of('\0') + 1);
    ranks.push_back(read_rank_values(received, static_cast<int>(ranks.size())));
  }
  const std::string differences = describe_differences(ranks);
  if (differences.empty()) return;
  throw CommError(Fault{.doing = "comparing the programs of the ranks",
                        .expected = "the same on every rank",
                        .found = differences,
                        .remedy = remedy});
}

}  // namespace dtrain
