// A step allocates nothing: forward, loss, backward and update, once the graph is compiled. Every allocation is counted whose
// caller is code of ours, inlined library code included; what oneDNN and OpenMP do inside their own libraries is theirs. And
// each that fails while a graph is planned ends as an exception.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "dtrain/loss.hpp"
#include "dtrain/models.hpp"
#include "dtrain/optimizer.hpp"
#include "tests/nn/compiled_network.hpp"
#include "tests/nn/small_networks.hpp"

namespace {

std::atomic<bool> counting{false};
std::atomic<int> allocations{0};
std::atomic<int> failing{0};  ///< the number of the one that finds no memory; 0: none

/// Whether an address lies in this program and not in a shared library.
bool is_ours(const void* address) {
  static const void* const own_base = [] {
    Dl_info info{};
    dladdr(reinterpret_cast<const void*>(&is_ours), &info);
    return info.dli_fbase;
  }();
  Dl_info info{};
  return dladdr(address, &info) != 0 && info.dli_fbase == own_base;
}

void* counted_allocation(std::size_t size, std::size_t alignment, const void* caller) {
  if (counting.load(std::memory_order_relaxed) && is_ours(caller) && ++allocations == failing) throw std::bad_alloc();
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, size == 0 ? 1 : size) != 0) throw std::bad_alloc();
  return memory;
}

}  // namespace

void* operator new(std::size_t size) { return counted_allocation(size, sizeof(void*) * 2, __builtin_return_address(0)); }
void* operator new[](std::size_t size) { return counted_allocation(size, sizeof(void*) * 2, __builtin_return_address(0)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return counted_allocation(size, static_cast<std::size_t>(alignment), __builtin_return_address(0));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace dtrain {
namespace {

/// Allocations of the third of three steps.
int allocations_of_a_step(const NetworkSpec& network, const CompileOptions& options) {
  CompiledNetwork compiled(network, options, random_parameters(network, 1));
  // Both measuring passes and the update.
  Optimizer optimizer({.kind = OptimizerKind::lamb, .clip_norm = 1.0}, compiled.store());
  const UpdateRates rates{.learning_rate = 1e-4f};
  const std::vector<float> pictures = to_floats(random_values(picture_elements(network, options.batch), 2));
  const std::vector<std::int32_t> labels(static_cast<std::size_t>(options.batch), 1);
  std::vector<float> diff_logits(static_cast<std::size_t>(logits_elements(network, options.batch)));
  const Slice whole{0, static_cast<std::int64_t>(compiled.store().weights().size())};
  const std::function<void(LayerIndex)> nothing = [](LayerIndex) {};
  const auto step = [&] {
    const Tensor& logits = compiled.graph().forward(pictures, {});
    (void)training_loss(logits.values(), labels, network.outputs, 0.1f, 1.0f, diff_logits);
    compiled.graph().backward(diff_logits, nothing);
    for (int pass = 0; pass < optimizer.measuring_passes(); ++pass) {
      optimizer.measure(pass, compiled.store(), whole, rates);
      optimizer.end_measuring(pass, rates);
    }
    (void)optimizer.update(compiled.store(), whole, rates);
  };
  step();
  step();
  allocations = 0;
  counting = true;
  step();
  counting = false;
  return allocations;
}

TEST(Allocations, AreCounted) {
  counting = true;
  allocations = 0;
  std::vector<std::string> some(3, std::string(100, 'x'));
  counting = false;
  EXPECT_GE(allocations, 4) << some.front();
}

TEST(Allocations, OfAStepAreNone) {
  for (const NetworkSpec& network : {residual_chain(), inception_block(), fire_blocks(), dense_block(), dropouts(),
                                     odd_concat(), auxiliary_heads(), build_model("resnet20", {})}) {
    for (const bool recompute_norm : {false, true}) {
      EXPECT_EQ(allocations_of_a_step(network, {.batch = 4, .recompute_norm = recompute_norm}), 0) << network.name;
    }
    if (bf16_support() == Bf16Support::none) continue;
    EXPECT_EQ(allocations_of_a_step(network, {.batch = 4, .precision = Precision::bf16}), 0) << network.name << " in bf16";
  }
}

/// Allocations until the plan was made or one failed. Result: how many.
int plan_with_failing(const NetworkSpec& network, int number) {
  allocations = 0;
  failing = number;
  counting = true;
  try {
    (void)Graph::plan_parameters(network, {.batch = 2}, false);
  } catch (const std::bad_alloc&) {
    // What was there before is gone again, once.
  }
  counting = false;
  failing = 0;
  return allocations;
}

TEST(Allocations, OfAPlanMayFailAtAnyPlace) {
  for (const NetworkSpec& network : {convolutions_and_linear(), residual_chain()}) {
    (void)plan_with_failing(network, 0);  // what is allocated once
    const int all = plan_with_failing(network, 0);
    for (int number = 1; number <= all; ++number) EXPECT_EQ(plan_with_failing(network, number), number);
  }
}

}  // namespace
}  // namespace dtrain
