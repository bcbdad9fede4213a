// The update of a network's weights by every optimizer, beside the memory's bandwidth, which is what limits it.
//
//   bench_update [--model resnet50] [--threads N] [--rounds 15] [--json FILE]
//
// Bytes are counted once for every arena that is read and once for every one that is written: sgd reads gradients, weights and
// velocity and writes the last two, 20 bytes an element. The bandwidth is the better of two triads over three arrays of the
// same length, timed in turns with the updates: STREAM's, a = b + s·c, 24 bytes an element, though most processors read a too
// before they write it; and a = a + s·b, 12 bytes, which hides nothing. After the measurement a last update of every optimizer
// is compared with its formula in double.
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "dtrain/error.hpp"
#include "dtrain/models.hpp"
#include "dtrain/optimizer.hpp"

namespace {

using namespace dtrain;

struct Options {
  std::string model = "resnet50";
  int threads = 0;  ///< 0: as OpenMP has
  int rounds = 15;
  std::string json;
};

Options parse(int argc, char** argv) {
  Options options;
  const std::map<std::string, std::function<void(const std::string&)>> known{
      {"--model", [&](const std::string& v) { options.model = v; }},
      {"--threads", [&](const std::string& v) { options.threads = std::stoi(v); }},
      {"--rounds", [&](const std::string& v) { options.rounds = std::stoi(v); }},
      {"--json", [&](const std::string& v) { options.json = v; }}};
  for (int i = 1; i < argc; i += 2) {
    const auto option = known.find(argv[i]);
    if (option == known.end() || i + 1 == argc) {
      throw ConfigError(Fault{.doing = "bench_update",
                              .expected = "--model NAME, --threads N, --rounds N or --json FILE",
                              .found = argv[i],
                              .remedy = "see the head of bench/bench_update.cpp"});
    }
    option->second(argv[i + 1]);
  }
  return options;
}

double seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double percentile(std::vector<double> values, double share) {
  std::ranges::sort(values);
  return values[static_cast<std::size_t>(share * static_cast<double>(values.size() - 1))];
}

/// The parameters of a network, plain, in the order of backward.
ParameterStore store_of(const std::string& model) {
  const auto by_node = parameters_by_node(build_model(model, {}));
  std::vector<ParameterStore::Entry> entries;
  for (auto specs = by_node.rbegin(); specs != by_node.rend(); ++specs) {
    for (const ParameterSpec& spec : *specs) entries.push_back({spec, plain_layout(spec.shape)});
  }
  return ParameterStore(std::move(entries));
}

/// Something that is timed in turns with the others.
struct Work {
  std::string name;
  double bytes_an_element;
  std::function<void()> run;
  std::vector<double> times_s{};
};

constexpr UpdateRates kRates{.learning_rate = 1e-3f, .momentum = 0.9f, .weight_decay = 1e-4f, .updates = 1000};

/// An optimizer with the arenas it works on; weights and gradients are those of all.
struct Subject {
  std::string name;
  OptimizerSettings settings;
  double update_bytes;
  std::vector<double> measure_bytes;  ///< of each pass
  std::unique_ptr<Optimizer> optimizer{};
};

std::vector<Subject> subjects() {
  std::vector<Subject> all;
  all.push_back({"sgd", {OptimizerKind::sgd}, 20.0, {}});
  all.push_back({"nesterov", {OptimizerKind::nesterov}, 20.0, {}});
  all.push_back({"sgd, rate in velocity", {.kind = OptimizerKind::sgd, .rate_in_velocity = true}, 20.0, {}});
  all.push_back({"rmsprop", {.kind = OptimizerKind::rmsprop}, 28.0, {}});
  all.push_back({"rmsprop, tensorflow", {.kind = OptimizerKind::rmsprop, .rmsprop_form = RmspropForm::tensorflow}, 28.0, {}});
  all.push_back({"lars", {.kind = OptimizerKind::lars}, 20.0, {8.0}});
  all.push_back({"adamw", {.kind = OptimizerKind::adamw}, 28.0, {}});
  all.push_back({"lamb", {.kind = OptimizerKind::lamb}, 16.0, {24.0}});
  all.push_back({"sgd, clipped", {.kind = OptimizerKind::sgd, .clip_norm = 1.0}, 20.0, {4.0}});
  return all;
}

/// The memory is first touched by the threads that use it.
void fill(std::span<float> values, float scale) {
#pragma omp parallel for schedule(static)
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = scale * (static_cast<float>((i * 7919) % 1009) - 504.0f);
}

[[gnu::target_clones("avx512f", "avx2", "default")]] void triad_part(float* a, const float* b, const float* c,
                                                                     std::int64_t count) {
#pragma omp simd
  for (std::int64_t i = 0; i < count; ++i) a[i] = b[i] + 1e-3f * c[i];
}

/// a may be b.
void triad(float* a, const float* b, const float* c, std::int64_t count) {
#pragma omp parallel
  {
    const std::int64_t begin = count * omp_get_thread_num() / omp_get_num_threads();
    const std::int64_t end = count * (omp_get_thread_num() + 1) / omp_get_num_threads();
    triad_part(a + begin, b + begin, c + begin, end - begin);
  }
}

/// What an element becomes by the formula, from what it was; trust and clip: as measured apart.
double expected_weight(const OptimizerSettings& s, double w, double g, double average, double squares, double trust,
                       double clip, double decay) {
  const double rate = kRates.learning_rate, momentum = kRates.momentum;
  g *= clip;
  if (s.kind == OptimizerKind::adamw || s.kind == OptimizerKind::lamb) {
    average = s.beta1 * average + (1.0 - s.beta1) * g;
    squares = s.beta2 * squares + (1.0 - s.beta2) * g * g;
    const double unbiased = average / (1.0 - std::pow(s.beta1, kRates.updates));
    const double root = std::sqrt(squares / (1.0 - std::pow(s.beta2, kRates.updates)));
    return w - rate * trust * (unbiased / (root + s.epsilon) + decay * w);
  }
  g += decay * w;
  if (s.kind == OptimizerKind::rmsprop) {
    squares = s.alpha * squares + (1.0 - s.alpha) * g * g;
    if (s.rmsprop_form == RmspropForm::tensorflow) return w - (momentum * average + rate * g / std::sqrt(squares + s.epsilon));
    return w - rate * (momentum * average + g / (std::sqrt(squares) + s.epsilon));
  }
  if (s.kind == OptimizerKind::lars || s.rate_in_velocity) return w - (momentum * average + rate * trust * g);
  const double velocity = momentum * average + g;
  return w - rate * (s.kind == OptimizerKind::nesterov ? g + momentum * velocity : velocity);
}

double norm_of(std::span<const float> values) {
  double squares = 0.0;
  for (const float value : values) squares += static_cast<double>(value) * value;
  return std::sqrt(squares);
}

void update_all(Optimizer& optimizer, ParameterStore& store) {
  const Slice whole{0, std::ssize(store.weights())};
  for (int pass = 0; pass < optimizer.measuring_passes(); ++pass) {
    optimizer.measure(pass, store, whole, kRates);
    optimizer.end_measuring(pass, kRates);
  }
  if (!optimizer.update(store, whole, kRates)) throw DataError("bench_update: weights are not finite");
}

/// One update of the subject against its formula. Errors: DataError: an element differs by more than rounding explains.
void verify(Subject& subject, ParameterStore& store) {
  constexpr double kRounding = 1e-6;  // of a weight below 1 and a change far below it: a few times 2⁻²⁴
  const std::vector<float> weights(store.weights().begin(), store.weights().end());
  std::vector<std::vector<float>> states;
  for (const OptimizerState& state : subject.optimizer->states()) states.emplace_back(state.values.begin(), state.values.end());
  update_all(*subject.optimizer, store);

  const OptimizerSettings& settings = subject.settings;
  const double clip = settings.clip_norm > 0.0 ? std::min(1.0, settings.clip_norm / (norm_of(store.gradients()) + 1e-6)) : 1.0;
  for (const Slot& slot : store.trained_slots()) {
    const auto begin = static_cast<std::size_t>(slot.offset), size = static_cast<std::size_t>(slot.size);
    const double decay = slot.spec.decays() ? kRates.weight_decay : 0.0;
    const std::span<const float> before = std::span(weights).subspan(begin, size);
    const auto expected_at = [&](std::size_t i, double trust) {
      return expected_weight(settings, before[i], store.gradients()[begin + i], states[0][begin + i],
                             states.size() > 1 ? states[1][begin + i] : 0.0, trust, clip, decay);
    };
    double trust = 1.0;
    if (settings.kind == OptimizerKind::lars && slot.spec.decays()) {
      trust = settings.trust_coefficient * norm_of(before) / (norm_of(store.gradient(slot)) + decay * norm_of(before));
    }
    if (settings.kind == OptimizerKind::lamb && slot.spec.decays()) {
      double squares = 0.0;
      for (std::size_t i = 0; i < size; ++i) {
        const double direction = (before[i] - expected_at(i, 1.0)) / kRates.learning_rate;
        squares += direction * direction;
      }
      trust = norm_of(before) / std::sqrt(squares);
    }
    for (std::size_t i = 0; i < size; i += 97) {
      const double expected = expected_at(i, trust);
      if (std::abs(expected - store.weights()[begin + i]) <= kRounding) continue;
      throw DataError(Fault{.doing = "bench_update: " + subject.name + " on " + slot.spec.name,
                            .expected = std::to_string(expected),
                            .found = std::to_string(store.weights()[begin + i])});
    }
  }
}

void measure(const Options& options) {
  if (options.threads > 0) omp_set_num_threads(options.threads);
  ParameterStore store = store_of(options.model);
  const std::int64_t elements = std::ssize(store.weights());
  const Slice whole{0, elements};
  fill(store.weights(), 1e-3f);
  fill(store.gradients(), 1e-5f);
  std::vector<Subject> all = subjects();
  AlignedMemory third(store.weights().size_bytes());
  const std::span<float> extra = third.floats().first(store.weights().size());
  fill(extra, 1e-3f);

  std::vector<Work> works;
  const float* const b = store.gradients().data();
  const float* const c = store.weights().data();
  float* const a = extra.data();
  works.push_back({"triad a = b + s·c", 12.0, [=] { triad(a, b, c, elements); }});
  works.push_back({"triad a = a + s·b", 12.0, [=] { triad(a, a, b, elements); }});
  for (Subject& subject : all) {
    subject.optimizer = std::make_unique<Optimizer>(subject.settings, store);
    Optimizer& optimizer = *subject.optimizer;
    for (const OptimizerState& state : optimizer.states()) fill(state.values, 0.0f);
    optimizer.zero_state();
    for (int pass = 0; pass < optimizer.measuring_passes(); ++pass) {
      works.push_back({subject.name + ": measuring", subject.measure_bytes[static_cast<std::size_t>(pass)], [&, pass] {
                         optimizer.measure(pass, store, whole, kRates);
                         optimizer.end_measuring(pass, kRates);
                       }});
    }
    works.push_back({subject.name + ": update", subject.update_bytes, [&] { (void)optimizer.update(store, whole, kRates); }});
  }

  for (int round = -2; round < options.rounds; ++round) {  // the first two warm up
    for (Work& work : works) {
      const double begin_s = seconds();
      work.run();
      if (round >= 0) work.times_s.push_back(seconds() - begin_s);
    }
  }
  for (Subject& subject : all) verify(subject, store);

  const auto gbps = [&](const Work& work, double share) {
    return work.bytes_an_element * static_cast<double>(elements) / percentile(work.times_s, share) / 1e9;
  };
  const double bandwidth = std::max(gbps(works[0], 0.5), gbps(works[1], 0.5));
  std::printf("%s: %.1f M parameters, %d threads, median of %d rounds; every result verified\n", options.model.c_str(),
              static_cast<double>(elements) / 1e6, omp_get_max_threads(), options.rounds);
  std::printf("%-32s %8s %9s %9s %9s %10s\n", "", "B/elem.", "ms", "GB/s", "p90..p10", "bandwidth");
  nlohmann::json rows = nlohmann::json::array();
  for (const Work& work : works) {
    const double ms = 1e3 * percentile(work.times_s, 0.5);
    std::printf("%-32s %8.0f %9.2f %9.2f %5.1f..%-5.1f %7.0f %%\n", work.name.c_str(), work.bytes_an_element, ms,
                gbps(work, 0.5), gbps(work, 0.9), gbps(work, 0.1), 100.0 * gbps(work, 0.5) / bandwidth);
    rows.push_back({{"name", work.name},
                    {"bytes_an_element", work.bytes_an_element},
                    {"ms", ms},
                    {"gbps", {{"median", gbps(work, 0.5)}, {"p10", gbps(work, 0.9)}, {"p90", gbps(work, 0.1)}}},
                    {"share_of_bandwidth", gbps(work, 0.5) / bandwidth}});
  }
  if (options.json.empty()) return;
  std::ofstream file(options.json);
  file << nlohmann::json{{"model", options.model}, {"elements", elements}, {"threads", omp_get_max_threads()}, {"works", rows}}
              .dump(1)
       << "\n";
  if (!file) throw DataError("bench_update: cannot write " + options.json);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    measure(parse(argc, argv));
    return EXIT_SUCCESS;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return EXIT_FAILURE;
  }
}
