// Which batch-norms see one value; see norm_values.hpp.
#include "trainer/norm_values.hpp"

#include <algorithm>
#include <variant>
#include <vector>

#include "dtrain/error.hpp"
#include "schedules/shards.hpp"

namespace dtrain {
namespace {

/// Batch-norms of a network that normalise a single pixel of each image.
std::vector<std::string> norms_of_one_pixel(const NetworkSpec& network) {
  const std::vector<Shape> shapes = output_shapes(network, 1);
  std::vector<std::string> names;
  for (std::size_t n = 0; n < shapes.size(); ++n) {
    const bool is_norm = std::holds_alternative<BatchNorm>(network.nodes[n].layer);
    if (is_norm && shapes[n][2] * shapes[n][3] == 1) names.push_back(network.nodes[n].name);
  }
  return names;
}

/// Images whose statistics count together, in each micro-batch that a rank meets in a step.
std::vector<std::int64_t> images_together(const RunPlan& plan, int ranks, int rank, std::int64_t step) {
  const StepPosition position = step_position(step, plan.samples, plan.global_batch);
  if (plan.syncs_norms) return pictures_by_round(position, ranks, plan.local_batch);
  std::vector<std::int64_t> images;
  for (const Range& positions : step_share(position, ranks, rank, plan.local_batch).micro_batches) {
    if (positions.size() > 0) images.push_back(positions.size());
  }
  return images;
}

bool is_one(std::int64_t images) { return images == 1; }

struct SingleImages {
  bool any = false, always = false;
};

/// All steps of an epoch but the last are alike, and ranks have shares of two sizes: those of the first and of the last rank.
SingleImages single_images(const RunPlan& plan, int ranks) {
  SingleImages found;
  const std::int64_t steps = std::min(plan.steps_per_epoch, std::max<std::int64_t>(data_steps(plan.stages), 1));
  for (const int rank : {0, ranks - 1}) {
    const std::vector<std::int64_t> full = images_together(plan, ranks, rank, 0);
    const std::vector<std::int64_t> last = images_together(plan, ranks, rank, steps - 1);
    found.any = found.any || std::ranges::any_of(full, is_one) || std::ranges::any_of(last, is_one);
    found.always = found.always || (!full.empty() && std::ranges::all_of(full, is_one));
  }
  return found;
}

/// The smallest side of an image with which no batch-norm normalises a single pixel; 0: there is none up to 1024.
std::int64_t smallest_crop(const NetworkSpec& network, std::int64_t from) {
  for (std::int64_t crop = from; crop <= 1024; ++crop) {
    if (norms_of_one_pixel(network_at(network, crop)).empty()) return crop;
  }
  return 0;
}

std::string remedy_of(const RunPlan& plan, int ranks, std::int64_t crop) {
  std::string remedy = "--local-batch 2";
  if (plan.global_batch < 2 * ranks) remedy += " with --global-batch " + std::to_string(2 * ranks);
  if (ranks > 1 && plan.global_batch > 1 && !plan.syncs_norms) remedy += ", or --bn sync";
  const std::int64_t larger = smallest_crop(plan.network, crop + 1);
  if (larger > 0) remedy += ", or --crop " + std::to_string(larger);
  return remedy;
}

}  // namespace

std::optional<SingleValueNorm> find_single_value_norm(const RunPlan& plan, int ranks) {
  const SingleImages images = single_images(plan, ranks);
  if (!images.any) return std::nullopt;
  for (const std::int64_t crop : training_crops(plan)) {
    const std::vector<std::string> norms = norms_of_one_pixel(network_at(plan.network, crop));
    if (norms.empty()) continue;
    return SingleValueNorm{.layer = norms.front(), .layers = std::ssize(norms), .crop = crop, .always = images.always};
  }
  return std::nullopt;
}

std::string require_norms_of_several_values(const RunPlan& plan, int ranks) {
  const std::optional<SingleValueNorm> norm = find_single_value_norm(plan, ranks);
  if (!norm) return "";
  const std::string where = norm->layer + (norm->layers > 1 ? " and " + std::to_string(norm->layers - 1) + " more" : "");
  if (norm->always) {
    throw ConfigError(Fault{.doing = "planning batch-norm of " + plan.network.name + " for images of " +
                                     std::to_string(norm->crop) + "×" + std::to_string(norm->crop),
                            .expected = "more than one value per channel, which have a mean and a variance",
                            .found = "micro-batches of 1 image that has 1×1 pixels at " + where,
                            .remedy = remedy_of(plan, ranks, norm->crop)});
  }
  return "a micro-batch of 1 image has 1×1 pixels at the batch-norm " + where +
         ": one value per channel, with which it learns nothing and which running statistics leave out";
}

}  // namespace dtrain
