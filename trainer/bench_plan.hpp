// What `bench` measures: lists of networks, batches and precisions, every combination of them, and the training run that each
// combination is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "trainer/config.hpp"

namespace dtrain {

struct BenchConfig {
  std::string models = "resnet50";  ///< comma-separated, as the next two
  std::string batches = "16";       ///< pictures a rank
  std::string precision = "fp32";   ///< of fp32 and bf16
  std::int64_t steps = 20;          ///< measured
  std::int64_t warmup = 5;          ///< before them
  TrainConfig training;             ///< what all combinations have in common; the fields above replace its own
  std::string json;                 ///< file; empty: none
  std::string csv;                  ///< file; empty: none
};

struct Combination {
  std::string model;
  std::string precision;
  std::int64_t batch = 0;  ///< pictures a rank
};

/// Batches of a list. Errors: ConfigError: as parse_list, or a part is not a whole number from 1 to kLargestBatch.
std::vector<std::int64_t> parse_batches(const std::string& text);

/// All faults, each with its option, those that combinations have in common once; empty when it can run on `ranks` ranks. No
/// I/O.
std::vector<std::string> validate(const BenchConfig& config, int ranks);

/// Every network in every precision with every batch, batches innermost. Errors: ConfigError, as of the lists.
std::vector<Combination> combinations_of(const BenchConfig& config);

/// The run that a combination is: synthetic pictures, as many steps as are measured and before, every step of whole batches.
TrainConfig run_of(const BenchConfig& config, const Combination& combination, int ranks);

}  // namespace dtrain
