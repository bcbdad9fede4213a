// Every layer by its definition; see reference_network.hpp.
#include "tests/nn/reference_network.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "dtrain/random.hpp"

namespace dtrain {
namespace {

/// Row-major values with their shape; pictures are (n, c, h, w).
struct Value {
  Shape shape;
  const std::vector<double>* elements = nullptr;

  const double* row(std::int64_t n, std::int64_t c, std::int64_t h) const {
    return elements->data() + ((n * shape[1] + c) * shape[2] + h) * shape[3];
  }
  double at(std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) const { return row(n, c, h)[w]; }
};

class ReferenceLayer {
 public:
  ReferenceLayer(const std::string& name, std::vector<Value> src, Shape dst_shape, const NamedTensors& parameters,
                 bool training, ReferenceRun& run)
      : name_(name),
        src_(std::move(src)),
        shape_(std::move(dst_shape)),
        parameters_(parameters),
        training_(training),
        run_(run),
        dst_(static_cast<std::size_t>(element_count(shape_))) {}

  std::vector<double> result() && { return std::move(dst_); }

  /// A weight at a time, added to a row of results at a time: finite differences run this thousands of times.
  void operator()(const Convolution& conv) {
    const double* weight = parameter(".weight").data();
    const Value& src = src_[0];
    const std::int64_t group_in = src.shape[1] / conv.groups;
    const std::int64_t group_out = shape_[1] / conv.groups;
    double* row = dst_.data();
    for (std::int64_t n = 0; n < shape_[0]; ++n) {
      for (std::int64_t oc = 0; oc < shape_[1]; ++oc) {
        for (std::int64_t oh = 0; oh < shape_[2]; ++oh, row += shape_[3]) {
          std::fill_n(row, shape_[3], conv.has_bias ? parameter(".bias")[static_cast<std::size_t>(oc)] : 0.0);
          for (std::int64_t ic = 0; ic < group_in; ++ic) {
            for (std::int64_t kh = 0; kh < conv.kernel.height; ++kh) {
              const std::int64_t h = oh * conv.stride - conv.padding.height + kh;
              if (h < 0 || h >= src.shape[2]) continue;
              const double* src_row = src.row(n, oc / group_out * group_in + ic, h);
              const double* kernel_row = weight + ((oc * group_in + ic) * conv.kernel.height + kh) * conv.kernel.width;
              for (std::int64_t kw = 0; kw < conv.kernel.width; ++kw) add_shifted(conv, kernel_row[kw], kw, src_row, row);
            }
          }
        }
      }
    }
  }

  void operator()(const BatchNorm& norm) {
    const Value& src = src_[0];
    const auto count = static_cast<double>(shape_[0] * shape_[2] * shape_[3]);
    std::vector<double> mean(static_cast<std::size_t>(shape_[1])), variance(mean.size());
    for (std::size_t c = 0; c < mean.size(); ++c) {
      const auto for_each_pixel = [&](auto use) {
        for (std::int64_t n = 0; n < shape_[0]; ++n) {
          for (std::int64_t h = 0; h < shape_[2]; ++h) {
            for (std::int64_t w = 0; w < shape_[3]; ++w) use(src.at(n, static_cast<std::int64_t>(c), h, w));
          }
        }
      };
      for_each_pixel([&](double x) { mean[c] += x / count; });
      for_each_pixel([&](double x) { variance[c] += (x - mean[c]) * (x - mean[c]) / count; });
    }
    if (training_) {
      Moments& moments = run_.moments[name_];
      moments.mean = mean;
      for (const double v : variance) moments.unbiased_variance.push_back(v * count / (count - 1.0));
    } else {
      mean = parameter(".running_mean");
      variance = parameter(".running_var");
    }
    const std::vector<double>& gamma = parameter(".weight");
    const std::vector<double>& beta = parameter(".bias");
    for_each_element([&](std::int64_t n, std::int64_t channel, std::int64_t h, std::int64_t w) {
      const auto c = static_cast<std::size_t>(channel);
      const double deviation = std::sqrt(variance[c] + static_cast<double>(norm.epsilon));
      return gamma[c] * (src.at(n, channel, h, w) - mean[c]) / deviation + beta[c];
    });
  }

  void operator()(const Pool& pool) {
    const Value& src = src_[0];
    for_each_element([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      double largest = -std::numeric_limits<double>::infinity();
      double sum = 0.0;
      double pixels = 0.0;  // of the window inside picture and padding; a window of ceil mode may reach beyond both
      for (std::int64_t h = oh * pool.stride - pool.padding; h < oh * pool.stride - pool.padding + pool.kernel; ++h) {
        for (std::int64_t w = ow * pool.stride - pool.padding; w < ow * pool.stride - pool.padding + pool.kernel; ++w) {
          if (h >= src.shape[2] + pool.padding || w >= src.shape[3] + pool.padding) continue;
          pixels += 1.0;
          if (h < 0 || w < 0 || h >= src.shape[2] || w >= src.shape[3]) continue;
          largest = std::max(largest, src.at(n, c, h, w));
          sum += src.at(n, c, h, w);
        }
      }
      return pool.kind == Pool::Kind::max ? largest : sum / pixels;
    });
  }

  void operator()(const AdaptiveAveragePool& pool) {
    const Value& src = src_[0];
    const auto begin = [&](std::int64_t window, std::int64_t extent) { return window * extent / pool.side; };
    const auto end = [&](std::int64_t window, std::int64_t extent) {
      return static_cast<std::int64_t>(std::ceil(static_cast<double>((window + 1) * extent) / static_cast<double>(pool.side)));
    };
    for_each_element([&](std::int64_t n, std::int64_t c, std::int64_t oh, std::int64_t ow) {
      double sum = 0.0;
      double pixels = 0.0;
      for (std::int64_t h = begin(oh, src.shape[2]); h < end(oh, src.shape[2]); ++h) {
        for (std::int64_t w = begin(ow, src.shape[3]); w < end(ow, src.shape[3]); ++w) sum += src.at(n, c, h, w), pixels += 1.0;
      }
      return sum / pixels;
    });
  }

  void operator()(const Concat&) {
    for_each_element([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      std::size_t input = 0;
      while (c >= src_[input].shape[1]) c -= src_[input++].shape[1];
      return src_[input].at(n, c, h, w);
    });
  }

  void operator()(const Linear& linear) {
    const std::vector<double>& weight = parameter(".weight");
    const std::vector<double>& bias = parameter(".bias");
    const auto inputs = static_cast<std::size_t>(src_[0].shape[1]);
    const auto outputs = static_cast<std::size_t>(linear.out_features);
    for (std::size_t i = 0; i < dst_.size(); ++i) {
      dst_[i] = bias[i % outputs];
      for (std::size_t k = 0; k < inputs; ++k) {
        dst_[i] += weight[i % outputs * inputs + k] * (*src_[0].elements)[i / outputs * inputs + k];
      }
    }
  }

  void operator()(const PadShortcut&) {
    const Value& src = src_[0];
    const std::int64_t front = (shape_[1] - src.shape[1]) / 2;
    for_each_element([&](std::int64_t n, std::int64_t c, std::int64_t h, std::int64_t w) {
      return c < front || c >= front + src.shape[1] ? 0.0 : src.at(n, c - front, 2 * h, 2 * w);
    });
  }

  void operator()(const Relu& relu) {
    for (std::size_t i = 0; i < dst_.size(); ++i) {
      dst_[i] = std::min(std::max(0.0, (*src_[0].elements)[i]), static_cast<double>(relu.ceiling));
    }
  }
  void operator()(const Add&) {
    for (std::size_t i = 0; i < dst_.size(); ++i) dst_[i] = (*src_[0].elements)[i] + (*src_[1].elements)[i];
  }
  void operator()(const Flatten&) { dst_ = *src_[0].elements; }
  void operator()(const Dropout&) { dst_ = *src_[0].elements; }

 private:
  const std::vector<double>& parameter(const char* suffix) const { return parameters_.at(name_ + suffix); }

  /// dst[ow] += weight·src[ow·stride − padding + kw] wherever that lies inside the picture.
  void add_shifted(const Convolution& conv, double weight, std::int64_t kw, const double* src_row, double* row) const {
    const std::int64_t shift = kw - conv.padding.width;
    const std::int64_t first = shift >= 0 ? 0 : (-shift + conv.stride - 1) / conv.stride;
    const std::int64_t room = src_[0].shape[3] - 1 - shift;  // largest ow·stride
    const std::int64_t end = room < 0 ? 0 : std::min(shape_[3], room / conv.stride + 1);
    for (std::int64_t ow = first; ow < end; ++ow) row[ow] += weight * src_row[ow * conv.stride + shift];
  }

  template <typename Compute>
  void for_each_element(Compute compute) {
    std::size_t at = 0;
    for (std::int64_t n = 0; n < shape_[0]; ++n) {
      for (std::int64_t c = 0; c < shape_[1]; ++c) {
        for (std::int64_t h = 0; h < shape_[2]; ++h) {
          for (std::int64_t w = 0; w < shape_[3]; ++w) dst_[at++] = compute(n, c, h, w);
        }
      }
    }
  }

  const std::string& name_;
  std::vector<Value> src_;
  Shape shape_;
  const NamedTensors& parameters_;
  bool training_;
  ReferenceRun& run_;
  std::vector<double> dst_;
};

double draw(Random& random, const ParameterSpec& spec) {
  using Kind = ParameterSpec::Kind;
  switch (spec.kind) {
    case Kind::conv_weight:
    case Kind::linear_weight: {
      const auto fan_in = static_cast<double>(element_count(spec.shape)) / static_cast<double>(spec.shape[0]);
      return random.normal() / std::sqrt(fan_in);
    }
    case Kind::norm_weight:
      return random.uniform(0.5, 1.5) * (random.uniform() < 0.3 ? -1.0 : 1.0);
    case Kind::running_var:
      return random.uniform(0.5, 2.0);
    default:
      return 0.5 * random.normal();
  }
}

}  // namespace

ReferenceRun run_reference(const NetworkSpec& network, const NamedTensors& parameters, const std::vector<double>& pictures,
                           std::int64_t batch, bool training) {
  const std::vector<Shape> shapes = output_shapes(network, batch);
  ReferenceRun run;
  run.results.resize(network.nodes.size());
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const Node& node = network.nodes[i];
    std::vector<Value> src;
    for (const LayerIndex input : node.inputs) {
      const auto at = static_cast<std::size_t>(input);
      if (input == kNetworkInput) {
        src.push_back({{batch, network.channels, network.height, network.width}, &pictures});
      } else {
        src.push_back({shapes[at], &run.results[at]});
      }
    }
    ReferenceLayer layer(node.name, std::move(src), shapes[i], parameters, training, run);
    std::visit(layer, node.layer);
    run.results[i] = std::move(layer).result();
  }
  for (std::size_t k = 0; k < (training ? network.outputs.size() : 1); ++k) {
    const auto& logits = run.results[static_cast<std::size_t>(network.outputs[k].node)];
    run.logits.insert(run.logits.end(), logits.begin(), logits.end());
  }
  return run;
}

NamedTensors random_parameters(const NetworkSpec& network, std::uint64_t seed) {
  NamedTensors tensors;
  Random random(seed, RandomPurpose::perturbation, {1});
  for (const auto& specs : parameters_by_node(network)) {
    for (const ParameterSpec& spec : specs) {
      std::vector<double>& values = tensors[spec.name];
      values.resize(static_cast<std::size_t>(element_count(spec.shape)));
      for (double& value : values) value = static_cast<double>(static_cast<float>(draw(random, spec)));
    }
  }
  return tensors;
}

std::vector<double> random_values(std::int64_t count, std::uint64_t seed) {
  Random random(seed, RandomPurpose::perturbation, {2});
  std::vector<double> values(static_cast<std::size_t>(count));
  for (double& value : values) value = static_cast<double>(static_cast<float>(0.3 + random.normal()));
  return values;
}

std::int64_t picture_elements(const NetworkSpec& network, std::int64_t batch) {
  return batch * network.channels * network.height * network.width;
}

std::int64_t logits_elements(const NetworkSpec& network, std::int64_t batch) {
  return std::ssize(network.outputs) * batch * network.num_classes;
}

std::vector<float> to_floats(const std::vector<double>& values) {
  std::vector<float> floats(values.size());
  std::transform(values.begin(), values.end(), floats.begin(), [](double value) { return static_cast<float>(value); });
  return floats;
}

}  // namespace dtrain
