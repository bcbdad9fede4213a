// The convolution floor: how many images a second a network would train at if it consisted of its convolutions alone, each by
// the fastest primitive that oneDNN has for the shape, in the layouts it likes best, with nothing in between. What a training
// step is measured against.
//
//   bench_conv_floor --model resnet50 --batch 16 --threads 2 [--repeats 5] [--json FILE] [--verbose]
//
// Forward, backward data and backward weights are timed; backward data of convolutions on the pictures are left out, for nobody
// needs them. What the choice of algorithms by shape costs beside the fastest is printed too. Every primitive's result is
// compared with the direct algorithm's (a Winograd primitive that computed something else would be a floor of nothing).
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <dnnl.hpp>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "src/nn/convolution_primitives.hpp"

namespace {

using namespace dtrain;
using dnnl::algorithm;
using dnnl::memory;
using nn::Dims;

struct Options {
  std::string model = "resnet50";
  std::int64_t batch = 16;
  int threads = 2;
  int repeats = 5;
  memory::data_type type = memory::data_type::f32;  ///< of everything but the gradients of weights, which are f32
  std::string json;
  bool verbose = false;
};

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::function<void(const std::string&)>> known{
      {"--model", [&](const std::string& v) { options.model = v; }},
      {"--batch", [&](const std::string& v) { options.batch = std::stol(v); }},
      {"--threads", [&](const std::string& v) { options.threads = std::stoi(v); }},
      {"--repeats", [&](const std::string& v) { options.repeats = std::stoi(v); }},
      {"--precision",
       [&](const std::string& v) {
         if (v != "fp32" && v != "bf16") throw ConfigError("bench_conv_floor: --precision: expected fp32 or bf16, found " + v);
         options.type = v == "bf16" ? memory::data_type::bf16 : memory::data_type::f32;
       }},
      {"--json", [&](const std::string& v) { options.json = v; }}};
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    if (name == "--verbose") {
      options.verbose = true;
      continue;
    }
    const auto option = known.find(name);
    if (option == known.end() || i + 1 == argc) throw ConfigError("bench_conv_floor: unknown option or no value: " + name);
    option->second(argv[++i]);
  }
  return options;
}

struct Problem {
  Dims src, weights, dst;
  Dims strides, padding;
  bool is_first = false;  ///< reads the pictures
  auto key() const { return std::tuple(src, weights, dst, strides, padding, is_first); }
  bool operator<(const Problem& other) const { return key() < other.key(); }
};

std::map<Problem, int> convolutions_of(const NetworkSpec& network, std::int64_t batch) {
  std::map<Problem, int> counts;
  const auto shapes = output_shapes(network, batch);
  for (std::size_t i = 0; i < network.nodes.size(); ++i) {
    const auto* spec = std::get_if<Convolution>(&network.nodes[i].layer);
    if (spec == nullptr) continue;
    const LayerIndex input = network.nodes[i].inputs.front();
    const Dims src = input == kNetworkInput ? Dims{batch, network.channels, network.height, network.width}
                                            : shapes[static_cast<std::size_t>(input)];
    Dims weights{spec->out_channels / spec->groups, src[1] / spec->groups, spec->kernel.height, spec->kernel.width};
    if (spec->groups > 1) weights.insert(weights.begin(), spec->groups);
    ++counts[Problem{.src = src,
                     .weights = weights,
                     .dst = shapes[i],
                     .strides = {spec->stride, spec->stride},
                     .padding = {spec->padding.height, spec->padding.width},
                     .is_first = input == kNetworkInput}];
  }
  return counts;
}

class FloorTimer {
 public:
  FloorTimer(const Problem& problem, memory::data_type type, int repeats)
      : repeats_(repeats),
        rule_(nn::choose_algorithm({.src = problem.src,
                                    .weights = problem.weights,
                                    .bias = {},
                                    .dst = problem.dst,
                                    .strides = problem.strides,
                                    .padding = problem.padding,
                                    .type = type},
                                   ConvAlgorithm::automatic)),
        src_(any(problem.src, type)),
        weights_(any(problem.weights, type)),
        diff_weights_(any(problem.weights, memory::data_type::f32)),
        dst_(any(problem.dst, type)),
        strides_(problem.strides),
        padding_(problem.padding) {}

  /// Seconds that the directions timed so far take by the algorithms that training chooses, without timing any.
  double rule_s() const { return rule_s_; }

  /// Seconds of the fastest algorithm for each direction.
  double forward() {
    return best([&](algorithm alg) {
      const auto desc = forward_desc(alg);
      return Trial{desc.impl_info_str(),
                   dnnl::convolution_forward(desc),
                   {{DNNL_ARG_SRC, filled(desc.src_desc(), 1)}, {DNNL_ARG_WEIGHTS, filled(desc.weights_desc(), 2)}},
                   {DNNL_ARG_DST, memory(desc.dst_desc(), engine_)}};
    });
  }
  double backward_data() {
    return best([&](algorithm alg) {
      const auto desc = nn::describe_backward<dnnl::convolution_backward_data>(alike_, forward_desc(alg), alg, src_, weights_,
                                                                               dst_, strides_, padding_, padding_);
      return Trial{desc.impl_info_str(),
                   dnnl::convolution_backward_data(desc),
                   {{DNNL_ARG_DIFF_DST, filled(desc.diff_dst_desc(), 1)}, {DNNL_ARG_WEIGHTS, filled(desc.weights_desc(), 2)}},
                   {DNNL_ARG_DIFF_SRC, memory(desc.diff_src_desc(), engine_)}};
    });
  }
  double backward_weights() {
    return best([&](algorithm alg) {
      const auto desc = nn::describe_backward<dnnl::convolution_backward_weights>(
          alike_, forward_desc(alg), alg, src_, diff_weights_, dst_, strides_, padding_, padding_);
      return Trial{desc.impl_info_str(),
                   dnnl::convolution_backward_weights(desc),
                   {{DNNL_ARG_SRC, filled(desc.src_desc(), 1)}, {DNNL_ARG_DIFF_DST, filled(desc.diff_dst_desc(), 2)}},
                   {DNNL_ARG_DIFF_WEIGHTS, memory(desc.diff_weights_desc(), engine_)}};
    });
  }

 private:
  struct Trial {
    std::string kernel;
    dnnl::primitive primitive;
    std::vector<std::pair<int, memory>> inputs;
    std::pair<int, memory> output;
  };

  static memory::desc row_major(const Dims& dims) {
    return {dims, memory::data_type::f32, dims.size() == 5 ? memory::format_tag::abcde : memory::format_tag::abcd};
  }
  static memory::desc any(const Dims& dims, memory::data_type type) {
    return memory::desc(dims, type, memory::format_tag::any);
  }

  dnnl::convolution_forward::primitive_desc forward_desc(algorithm alg) {
    return nn::describe_primitive<dnnl::convolution_forward>(alike_, dnnl::prop_kind::forward_training, alg, src_, weights_,
                                                             dst_, strides_, padding_, padding_);
  }

  /// The same values in logical order whatever the layout, so that results of different algorithms can be compared.
  memory filled(const memory::desc& desc, int salt) {
    const Dims dims = nn::dims_of(desc);
    memory plain(row_major(dims), engine_);
    auto* values = static_cast<float*>(plain.get_data_handle());
    const auto size = static_cast<std::int64_t>(plain.get_desc().get_size() / sizeof(float));
    for (std::int64_t i = 0; i < size; ++i) values[i] = static_cast<float>((i * 7919 + salt * 104729) % 17 - 8) / 16.0f;
    memory result(desc, engine_);
    dnnl::reorder(plain, result).execute(stream_, plain, result);
    return result;
  }

  /// Sum of squares and of values weighted by position: enough to tell a wrong result.
  std::pair<double, double> digest(const memory& values) {
    const Dims dims = nn::dims_of(values.get_desc());
    memory plain(row_major(dims), engine_);
    dnnl::reorder(values, plain).execute(stream_, const_cast<memory&>(values), plain);
    const auto* data = static_cast<const float*>(plain.get_data_handle());
    const auto size = static_cast<std::int64_t>(plain.get_desc().get_size() / sizeof(float));
    double squares = 0.0;
    double weighted = 0.0;
    for (std::int64_t i = 0; i < size; ++i) {
      squares += static_cast<double>(data[i]) * data[i];
      weighted += static_cast<double>(data[i]) * static_cast<double>(i % 101 - 50);
    }
    return {squares, weighted};
  }

  double best(const std::function<Trial(algorithm)>& make) {
    double fastest = INFINITY;
    double by_rule = INFINITY;
    std::optional<std::pair<double, double>> expected;
    std::map<std::string, double> timed;  // two algorithms may come down to the same kernel
    for (const algorithm alg : {algorithm::convolution_direct, algorithm::convolution_auto, algorithm::convolution_winograd}) {
      std::optional<Trial> trial;
      try {
        trial = make(alg);
      } catch (const dnnl::error& error) {
        if (error.status != dnnl_unimplemented) throw;
        continue;  // no Winograd for this shape
      }
      if (const auto known = timed.find(trial->kernel); known != timed.end()) {
        if (alg == rule_) by_rule = known->second;
        continue;
      }
      std::unordered_map<int, memory> arguments(trial->inputs.begin(), trial->inputs.end());
      arguments.insert(trial->output);
      trial->primitive.execute(stream_, arguments);
      const auto result = digest(trial->output.second);
      if (!expected) expected = result;
      // Rounding errors (Winograd, bf16) are below 1e-3 of the norm; a wrong result is of the order of the norm.
      const double norm = std::sqrt(expected->first);
      if (std::abs(std::sqrt(result.first) - norm) > 1e-3 * norm)
        throw std::runtime_error("bench_conv_floor: a primitive's result is wrong");
      std::vector<double> times;
      for (int repeat = 0; repeat < repeats_; ++repeat) {
        const auto begin = std::chrono::steady_clock::now();
        trial->primitive.execute(stream_, arguments);
        times.push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
      }
      std::ranges::sort(times);
      const double median = times[times.size() / 2];
      timed[trial->kernel] = median;
      fastest = std::min(fastest, median);
      if (alg == algorithm::convolution_direct || alg == rule_) by_rule = median;  // direct where the shape has no Winograd
    }
    rule_s_ += by_rule;
    return fastest;
  }

  int repeats_;
  algorithm rule_;
  double rule_s_ = 0.0;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::primitive_attr attributes_;
  nn::PrimitiveContext alike_{engine_, attributes_};
  memory::desc src_, weights_, diff_weights_, dst_;
  Dims strides_, padding_;
};

int run(const Options& options) {
  omp_set_num_threads(options.threads);
  const NetworkSpec network = build_model(options.model, {});
  double forward_s = 0.0;
  double data_s = 0.0;
  double weights_s = 0.0;
  double rule_s = 0.0;
  for (const auto& [problem, count] : convolutions_of(network, options.batch)) {
    FloorTimer timer(problem, options.type, options.repeats);
    const double forward = timer.forward();
    const double data = problem.is_first ? 0.0 : timer.backward_data();
    const double weights = timer.backward_weights();
    forward_s += count * forward, data_s += count * data, weights_s += count * weights;
    rule_s += count * timer.rule_s();
    if (options.verbose) {
      std::printf("%d x ic %lld oc %lld groups %lld hw %lld k %lld s %lld: forward %.2f ms, data %.2f ms, weights %.2f ms\n",
                  count, static_cast<long long>(problem.src[1]), static_cast<long long>(problem.dst[1]),
                  static_cast<long long>(problem.weights.size() == 5 ? problem.weights[0] : 1),
                  static_cast<long long>(problem.src[2]), static_cast<long long>(problem.weights.back()),
                  static_cast<long long>(problem.strides[0]), forward * 1e3, data * 1e3, weights * 1e3);
    }
  }
  const double images_per_s = static_cast<double>(options.batch) / (forward_s + data_s + weights_s);
  std::printf("%s batch %lld, %d threads: forward %.0f ms, backward data %.0f ms, backward weights %.0f ms: %.2f images/s\n",
              options.model.c_str(), static_cast<long long>(options.batch), options.threads, forward_s * 1e3, data_s * 1e3,
              weights_s * 1e3, images_per_s);
  std::printf("with the algorithms that training chooses by shape: %.2f images/s\n",
              static_cast<double>(options.batch) / rule_s);
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << "{\"model\": \"" << options.model << "\", \"batch\": " << options.batch << ", \"threads\": " << options.threads
         << ", \"forward_s\": " << forward_s << ", \"backward_data_s\": " << data_s << ", \"backward_weights_s\": " << weights_s
         << ", \"images_per_s\": " << images_per_s
         << ", \"images_per_s_by_rule\": " << static_cast<double>(options.batch) / rule_s << "}\n";
    if (!file.flush()) throw DataError("bench_conv_floor: cannot write " + options.json);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse(argc, argv));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
