// Choosing a convolution's primitives; see convolution_primitives.hpp.
#include "src/nn/convolution_primitives.hpp"

#include <string>

namespace dtrain::nn {
namespace {

using dnnl::algorithm;
using dnnl::convolution_backward_data;
using dnnl::convolution_backward_weights;
using dnnl::convolution_forward;

/// Winograd F(4×4, 3×3) transforms 4×4 output tiles; oneDNN multiplies tiles of all pictures at once, and needs enough of them
/// to fill its matrix products. Below this many tiles direct convolution is as fast or faster: 7×7 pictures of the last ResNet
/// stage have 4 tiles each. Tuned with bench_conv_floor on ResNet-50's shapes, batch 1 to 16.
constexpr std::int64_t kLeastWinogradTiles = 48;
/// With many channels the transformed weights, which gradients of weights hold three times, take more memory than little
/// speed is worth: for ResNet-50's last stage at batch 16 (64 tiles) 131 MB when most else is alive too, 6 % of a rank's
/// memory, against 7 ms of 820.
constexpr std::int64_t kLeastWinogradTilesOfManyChannels = 96;
constexpr std::int64_t kManyWeights = 256 * 1024;

// Note [Winograd in parts]: transformed tiles of a whole batch can take more memory than all that training keeps: 471 MB for
// VGG-16's second stage at batch 16. Where they take more than kMostScratch_bytes, Winograd runs on fewer pictures at a time,
// but on as many tiles as make it about as fast as with all. Gradients of weights, whose tiles are read twice, are even faster
// for single pictures that are large enough (VGG-16's first stages: 117 → 93, 84 → 73 and 45 → 43 ms), because their tiles stay
// in the cache.
constexpr std::size_t kMostScratch_bytes = 64'000'000;
constexpr std::int64_t kTilesOfAPart = 1568;
constexpr std::int64_t kTilesOfAPartForWeights = 392;
constexpr std::int64_t kTilesOfALargePicture = 361;
constexpr std::int64_t kChannelsOfALargePicture = 64;

std::int64_t tiles_of_a_picture(const ConvolutionProblem& problem) {
  return ((problem.dst[2] + 3) / 4) * ((problem.dst[3] + 3) / 4);
}

dnnl::primitive_attr forward_attributes(const ConvolutionProblem& problem) {
  dnnl::primitive_attr attributes = user_scratchpad();
  if (problem.relu) {
    dnnl::post_ops operations;
    append_relu(operations);
    attributes.set_post_ops(operations);
  }
  return attributes;
}

/// The chosen algorithm where this CPU has it for the shape, else direct.
template <typename MakeDesc>
auto with_fallback(algorithm wanted, MakeDesc make) {
  if (wanted == algorithm::convolution_direct) return make(wanted);
  try {
    return make(wanted);
  } catch (const dnnl::error& error) {
    if (error.status != dnnl_unimplemented) throw;
    return make(algorithm::convolution_direct);
  }
}

class Chooser {
 public:
  Chooser(const ConvolutionProblem& problem, const ConvolutionQuestion& question, const Device& device)
      : problem_(problem),
        question_(question),
        device_(device),
        // Decided for all pictures: parts of them are computed alike.
        algorithm_(choose_algorithm(problem, question.algorithm)) {}

  ConvolutionPrimitives choose() const {
    Whole whole = for_all_pictures(false);
    const bool plain = question_.training && !has_kernels(whole);
    if (plain) whole = for_all_pictures(true);
    const auto forward_of_part = [&](const ConvolutionProblem& part) { return forward_of(part, plain); };
    const auto weights_of_part = [&](const ConvolutionProblem& part) { return weights_of(part, forward_of(part, plain)); };
    const auto data_of_part = [&](const ConvolutionProblem& part) { return data_of(part, forward_of(part, plain)); };

    ConvolutionPrimitives all{.forward = in_parts(whole.forward, kTilesOfAPart, forward_of_part),
                              .backward_data = {},
                              .backward_weights = {},
                              .src = whole.forward.src_desc(),
                              .dst = whole.forward.dst_desc()};
    if (!question_.training) return all;
    all.backward_weights = is_winograd(whole.weights) && has_large_pictures()
                               ? BackwardWeightsPrimitive{weights_of_part(problem_.of_pictures(1)), 1}
                               : in_parts(whole.weights, kTilesOfAPartForWeights, weights_of_part);
    if (question_.wants_diff_src) all.backward_data = in_parts(whole.data, kTilesOfAPart, data_of_part);
    return all;
  }

 private:
  convolution_forward::primitive_desc forward_of(const ConvolutionProblem& problem, bool plain) const {
    // Evaluation too: for inference Winograd wants weights in a format of its own, into which blocked weights cannot be
    // reordered.
    const auto kind = dnnl::prop_kind::forward_training;
    const auto layout = [&](const Dims& dims) { return plain ? plain_desc(dims, problem.type) : any_desc(dims, problem.type); };
    const Desc weights = any_desc(problem.weights, problem.type);
    const dnnl::primitive_attr attributes = forward_attributes(problem);
    const PrimitiveContext alike{device_.engine, attributes};
    const auto describe = [&](algorithm choice, const auto&... bias) {
      return describe_primitive<convolution_forward>(alike, kind, choice, layout(problem.src), weights, bias...,
                                                     layout(problem.dst), problem.strides, problem.padding, problem.padding);
    };
    return with_fallback(algorithm_, [&](algorithm choice) {
      return problem.bias.empty() ? describe(choice) : describe(choice, plain_desc(problem.bias));
    });
  }

  convolution_backward_weights::primitive_desc weights_of(const ConvolutionProblem& problem,
                                                          const convolution_forward::primitive_desc& forward) const {
    const dnnl::primitive_attr attributes = user_scratchpad();
    const PrimitiveContext alike{device_.engine, attributes};
    const auto describe = [&](algorithm choice, const auto&... bias) {
      return describe_backward<convolution_backward_weights>(alike, forward, choice, forward.src_desc(),
                                                             any_desc(problem.weights), bias..., forward.dst_desc(),
                                                             problem.strides, problem.padding, problem.padding);
    };
    return with_fallback(algorithm_, [&](algorithm choice) {
      return problem.bias.empty() ? describe(choice) : describe(choice, plain_desc(problem.bias));
    });
  }

  convolution_backward_data::primitive_desc data_of(const ConvolutionProblem& problem,
                                                    const convolution_forward::primitive_desc& forward) const {
    const dnnl::primitive_attr attributes = user_scratchpad();
    return with_fallback(algorithm_, [&](algorithm choice) {
      return describe_backward<convolution_backward_data>({device_.engine, attributes}, forward, choice, forward.src_desc(),
                                                          any_desc(problem.weights, problem.type), forward.dst_desc(),
                                                          problem.strides, problem.padding, problem.padding);
    });
  }

  /// Primitives for all pictures; those of backward only where they are asked for.
  struct Whole {
    convolution_forward::primitive_desc forward;
    convolution_backward_weights::primitive_desc weights;
    convolution_backward_data::primitive_desc data;
  };

  Whole for_all_pictures(bool plain) const {
    Whole whole{.forward = forward_of(problem_, plain), .weights = {}, .data = {}};
    if (question_.training) whole.weights = weights_of(problem_, whole.forward);
    if (question_.wants_diff_src) whole.data = data_of(problem_, whole.forward);
    return whole;
  }

  /// The layouts that forward likes best may be some for which backward has nothing but plain loops (a thousand times slower),
  /// where channels fill no block: then row-major is better, in which backward is a matrix product.
  bool has_kernels(const Whole& whole) const {
    const auto has_kernel = [](const auto& desc) { return !std::string(desc.impl_info_str()).starts_with("ref"); };
    return has_kernel(whole.weights) && (!question_.wants_diff_src || has_kernel(whole.data));
  }

  /// See Note [Winograd in parts]. make(part): for that part of the problem.
  template <typename PrimitiveDesc, typename Make>
  PartedPrimitive<PrimitiveDesc> in_parts(const PrimitiveDesc& whole, std::int64_t least_tiles, Make make) const {
    const std::int64_t pictures = problem_.pictures();
    const bool takes_much = is_winograd(whole) && whole.scratchpad_desc().get_size() > kMostScratch_bytes;
    std::int64_t part = takes_much ? 1 : pictures;
    while (part < pictures && (pictures % part != 0 || part * tiles_of_a_picture(problem_) < least_tiles)) ++part;
    if (part == pictures) return {whole, pictures};
    return {make(problem_.of_pictures(part)), part};
  }

  template <typename PrimitiveDesc>
  static bool is_winograd(const PrimitiveDesc& desc) {
    return std::string(desc.impl_info_str()).find("wino") != std::string::npos;
  }

  bool has_large_pictures() const {
    return tiles_of_a_picture(problem_) >= kTilesOfALargePicture && problem_.weights[0] >= kChannelsOfALargePicture &&
           problem_.weights[1] >= kChannelsOfALargePicture;
  }

  const ConvolutionProblem& problem_;
  const ConvolutionQuestion& question_;
  const Device& device_;
  algorithm algorithm_;
};

}  // namespace

ConvolutionProblem ConvolutionProblem::of_pictures(std::int64_t count) const {
  ConvolutionProblem part = *this;
  part.src[0] = part.dst[0] = count;
  return part;
}

dnnl::algorithm choose_algorithm(const ConvolutionProblem& problem, ConvAlgorithm asked) {
  const bool is_3x3 = problem.weights.size() == 4 && problem.weights[2] == 3 && problem.weights[3] == 3 &&
                      problem.strides[0] == 1 && problem.padding == Dims{1, 1};
  if (asked == ConvAlgorithm::direct || problem.type != kF32 || !is_3x3) return algorithm::convolution_direct;
  const bool fills_vectors = problem.weights[0] % 16 == 0 && problem.weights[1] % 16 == 0;
  const bool has_many_channels = problem.weights[0] * problem.weights[1] >= kManyWeights;
  const std::int64_t least_tiles = has_many_channels ? kLeastWinogradTilesOfManyChannels : kLeastWinogradTiles;
  return problem.pictures() * tiles_of_a_picture(problem) >= least_tiles && fills_vectors ? algorithm::convolution_winograd
                                                                                          : algorithm::convolution_direct;
}

ConvolutionPrimitives choose_primitives(const ConvolutionProblem& problem, const ConvolutionQuestion& question,
                                        const Device& device) {
  return Chooser(problem, question, device).choose();
}

}  // namespace dtrain::nn
