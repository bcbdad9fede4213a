// optimizer_steps IN OUT OPTIONS: the steps of a training without the network. IN (safetensors) has weights "weight.NAME" and
// gradients "gradient.STEP.NAME", of which tensors of several dimensions decay; OPTIONS are those of `dtrain train`. OUT has
// the weights after all steps, as NAME, and the rate of every step, as "rates".
#include <cstdio>
#include <string>
#include <variant>
#include <vector>

#include "dtrain/checkpoint.hpp"
#include "dtrain/error.hpp"
#include "dtrain/optimizer.hpp"
#include "launch/command_line.hpp"
#include "trainer/run_plan.hpp"

namespace {

using namespace dtrain;

constexpr std::string_view kWeight = "weight.";

ParameterStore store_of(const TensorFile& file) {
  std::vector<ParameterStore::Entry> entries;
  for (const FileTensor& tensor : file.tensors) {
    if (!tensor.name.starts_with(kWeight)) continue;
    using Kind = ParameterSpec::Kind;
    const Kind kind = tensor.shape.size() > 1 ? Kind::linear_weight : Kind::bias;
    entries.push_back({{tensor.name.substr(kWeight.size()), tensor.shape, kind}, plain_layout(tensor.shape)});
  }
  return ParameterStore(std::move(entries));
}

const FileTensor& tensor_of(const TensorFile& file, const std::string& name) {
  const FileTensor* const tensor = file.find(name);
  if (tensor == nullptr) throw DataError(Fault{.doing = "optimizer_steps", .expected = "tensor " + name, .found = "none"});
  return *tensor;
}

void take_steps(const TensorFile& in, const RunPlan& plan, const std::string& out) {
  ParameterStore store = store_of(in);
  for (const Slot& slot : store.trained_slots()) {
    copy_from_plain(slot.layout, tensor_of(in, std::string(kWeight) + slot.spec.name).f32, store.values(slot));
  }
  Optimizer optimizer(plan.optimizer, store);
  const Slice whole{0, std::ssize(store.weights())};
  FileTensor rates_taken{.name = "rates", .shape = {plan.total_steps}};
  for (std::int64_t step = 0; step < plan.total_steps; ++step) {
    const UpdateRates rates = rates_of_step(plan, step);
    for (const Slot& slot : store.trained_slots()) {
      const std::string name = "gradient." + std::to_string(step) + "." + slot.spec.name;
      copy_from_plain(slot.layout, tensor_of(in, name).f32, store.gradient(slot));
    }
    for (int pass = 0; pass < optimizer.measuring_passes(); ++pass) {
      optimizer.measure(pass, store, whole, rates);
      optimizer.end_measuring(pass, rates);
    }
    if (!optimizer.update(store, whole, rates)) {
      throw DataError(Fault{.doing = "optimizer_steps", .expected = "finite weights", .found = "others"});
    }
    rates_taken.f32.push_back(rates.learning_rate);
  }
  TensorFile result{.tensors = {std::move(rates_taken)}, .metadata = {}};
  for (const Slot& slot : store.trained_slots()) {
    FileTensor tensor{.name = slot.spec.name, .shape = slot.spec.shape};
    tensor.f32.resize(static_cast<std::size_t>(element_count(slot.spec.shape)));
    copy_to_plain(slot.layout, store.values(slot), tensor.f32);
    result.tensors.push_back(std::move(tensor));
  }
  write_tensor_file(out, result);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc < 3) throw ConfigError(Fault{.doing = "optimizer_steps", .expected = "IN OUT OPTIONS", .found = "less"});
    std::vector<std::string> arguments{"train", "--model", "lenet5", "--global-batch", "4", "--synthetic-size", "64"};
    arguments.insert(arguments.end(), argv + 3, argv + argc);
    const RunPlan plan = plan_run(std::get<TrainConfig>(parse_command_line(arguments, 1)), {.samples = 64, .classes = 10}, 1);
    take_steps(read_tensor_file(argv[1]), plan, argv[2]);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
