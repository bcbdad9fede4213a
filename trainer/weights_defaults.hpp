// What a run takes from the file of weights that it is given, where its options leave it open: how images are prepared, how
// many classes there are, which model it is.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "collectives/communicator.hpp"
#include "dtrain/weights_card.hpp"
#include "trainer/config.hpp"

namespace dtrain {

/// What is looked at before anything is built.
struct WeightsFacts {
  std::string file;
  WeightsCard card;                ///< with published preprocessing where the file is known to be a published one
  std::int64_t outputs = 0;        ///< of the network; 0: the file does not say
  std::string preprocessing_from;  ///< "the file", "…: published with resize 232"; empty: nothing is known
  std::string input_warning{};     ///< of weights that may expect other images than usual, for people; empty: none
};

/// model: whose head the outputs are read from. Errors: DataError: the file cannot be read.
WeightsFacts look_at_weights(const std::string& file, const std::string& model);
/// The same of several files of one ensemble. Errors: DataError: their outputs or images are not the same.
WeightsFacts look_at_weights(const std::vector<std::string>& files, const std::string& model);

/// The model of an evaluation that names none: the file's. Errors: DataError: it cannot be read.
std::string model_of_weights(const std::vector<std::string>& files);

/// Fills in what the options leave open: crop, resize, interpolation, mean and deviation; and, of training, weights_rate.
TrainConfig with_weights(TrainConfig config, const WeightsFacts& weights);
EvalConfig with_weights(EvalConfig config, const WeightsFacts& weights);

/// A training configuration with what its --init-from says. The root reads it. Collective. Errors, on every rank: DataError:
/// that cannot be read; CommError: other ranks have no --init-from.
TrainConfig with_initial_weights(const TrainConfig& config, const Communicator& communicator);

/// The same facts, the root's, on every rank. Collective.
WeightsFacts share_facts(const WeightsFacts& facts, const Communicator& communicator);

/// "weights       FILE: resnet50, 10 classes: ant, bee, …": a line for people.
std::string weights_line(const WeightsFacts& weights);
/// A warning of the root for each entry of a file's metadata that has a name of ours and cannot be taken.
void warn_of_unread(const WeightsFacts& weights, const Communicator& communicator);
/// "preprocessing: resize 256 (bilinear), …, from FILE": a line for people.
std::string preprocessing_line(const Preprocessing& preprocessing, const WeightsFacts& weights);

}  // namespace dtrain
