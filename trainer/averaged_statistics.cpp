// Own and averaged statistics change places; see averaged_statistics.hpp.
#include "trainer/averaged_statistics.hpp"

#include <algorithm>

namespace dtrain {

AveragedStatistics::AveragedStatistics(Replica& replica, const Communicator& communicator)
    : replica_(replica), communicator_(communicator) {
  const auto images = static_cast<double>(replica.images_counted());
  double all_images = images;
  communicator.sum(std::span(&all_images, 1));
  are_alike_ = communicator.size() == 1 || all_images == 0.0;
  if (are_alike_) return;
  const auto share = static_cast<float>(images / all_images);
  const std::span<float> statistics = replica.parameters().statistics();
  own_.assign(statistics.begin(), statistics.end());
  for (float& value : statistics) value *= share;
  communicator.sum(statistics);
}

AveragedStatistics::~AveragedStatistics() {
  if (!are_alike_) std::ranges::copy(own_, replica_.parameters().statistics().begin());
}

RankStatistics AveragedStatistics::gather() const {
  RankStatistics all;
  if (are_alike_) return all;
  std::vector<float> row(own_.size());
  for (int rank = 0; rank < communicator_.size(); ++rank) {
    if (rank == communicator_.rank()) row = own_;
    communicator_.broadcast(std::as_writable_bytes(std::span(row)), rank);
    const std::int64_t images = communicator_.broadcast_value(replica_.images_counted(), rank);
    if (!communicator_.is_root()) continue;
    all.images.push_back(images);
    all.values.insert(all.values.end(), row.begin(), row.end());
  }
  return all;
}

std::int64_t hand_out(const RankStatistics& statistics, Replica& replica, const Communicator& communicator) {
  const std::int64_t sets = communicator.broadcast_value(std::ssize(statistics.images));
  if (sets != communicator.size()) return sets;
  std::vector<float> row(replica.parameters().statistics().size());
  for (int rank = 0; rank < communicator.size(); ++rank) {
    std::int64_t images = 0;
    if (communicator.is_root()) {
      const auto index = static_cast<std::size_t>(rank);
      images = statistics.images[index];
      std::ranges::copy(std::span(statistics.values).subspan(index * row.size(), row.size()), row.begin());
    }
    communicator.broadcast(std::as_writable_bytes(std::span(row)));
    images = communicator.broadcast_value(images);
    if (rank == communicator.rank()) replica.take_statistics(row, images);
  }
  return sets;
}

}  // namespace dtrain
