// Which primitives compute a convolution: the algorithm by shape, and on how many pictures at a time. The bench of the
// convolution floor asks the same questions.
#pragma once

#include <cstdint>

#include "dtrain/graph.hpp"
#include "src/nn/onednn.hpp"

namespace dtrain::nn {

struct ConvolutionProblem {
  Dims src, weights, bias, dst, strides, padding;  ///< weights: (o, i, h, w), in groups (g, o, i, h, w); bias: empty for none
  bool relu = false;                               ///< applied to the result
  DataType type = kF32;  ///< of src, weights, dst and their gradients; bias and the gradients of weights and bias are f32

  std::int64_t pictures() const { return src[0]; }
  /// The same for other pictures, one behind the other.
  ConvolutionProblem of_pictures(std::int64_t pictures) const;
};

/// Winograd where the shape has it and fills its matrix products, else direct.
dnnl::algorithm choose_algorithm(const ConvolutionProblem& problem, ConvAlgorithm asked);

/// A primitive for some of the pictures, run once for each such share of them.
template <typename PrimitiveDesc>
struct PartedPrimitive {
  PrimitiveDesc desc;
  std::int64_t pictures = 0;  ///< of a run
};

using ForwardPrimitive = PartedPrimitive<dnnl::convolution_forward::primitive_desc>;
using BackwardDataPrimitive = PartedPrimitive<dnnl::convolution_backward_data::primitive_desc>;
using BackwardWeightsPrimitive = PartedPrimitive<dnnl::convolution_backward_weights::primitive_desc>;

/// The primitives of a convolution and the layouts of all pictures that they agree on.
struct ConvolutionPrimitives {
  ForwardPrimitive forward;
  BackwardDataPrimitive backward_data;        ///< empty where it is not asked for
  BackwardWeightsPrimitive backward_weights;  ///< likewise
  Desc src, dst;
};

struct ConvolutionQuestion {
  ConvAlgorithm algorithm = ConvAlgorithm::automatic;
  bool training = true;
  bool wants_diff_src = true;  ///< in training alone
};

/// Cost: milliseconds. Errors: dnnl::error.
ConvolutionPrimitives choose_primitives(const ConvolutionProblem& problem, const ConvolutionQuestion& question,
                                        const Device& device);

}  // namespace dtrain::nn
