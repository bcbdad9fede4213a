// A second, deliberately simple implementation of every layer: forward only, plain loops, double precision, row-major. What the
// compiled graph is held against; gradients come from its central differences.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "dtrain/layers.hpp"

namespace dtrain {

/// Row-major tensors by torchvision's names.
using NamedTensors = std::map<std::string, std::vector<double>>;

/// What a batch-norm saw in training: the batch's mean and unbiased variance per channel.
struct Moments {
  std::vector<double> mean;
  std::vector<double> unbiased_variance;
};

struct ReferenceRun {
  std::vector<std::vector<double>> results;  ///< of every node
  std::map<std::string, Moments> moments;    ///< of every batch-norm by node name; empty in evaluation
  std::vector<double> logits;                ///< of all outputs in training, of the main one in evaluation
};

/// Runs the network on `batch` pictures. Dropout is the identity: its masks are tested by themselves.
ReferenceRun run_reference(const NetworkSpec& network, const NamedTensors& parameters, const std::vector<double>& pictures,
                           std::int64_t batch, bool training);

/// Random parameters, each rounded to float: weights of variance 1/fan-in, γ of both signs with |γ| in [0.5, 1.5], statistics
/// of plausible size.
NamedTensors random_parameters(const NetworkSpec& network, std::uint64_t seed);

/// Normal numbers with mean 0.3, rounded to float.
std::vector<double> random_values(std::int64_t count, std::uint64_t seed);

/// Elements of `batch` pictures.
std::int64_t picture_elements(const NetworkSpec& network, std::int64_t batch);
/// Elements of the logits of all outputs.
std::int64_t logits_elements(const NetworkSpec& network, std::int64_t batch);

std::vector<float> to_floats(const std::vector<double>& values);

}  // namespace dtrain
