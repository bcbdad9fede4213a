// Buffers and arena of real programs, carried out on names of values instead of numbers: an interpreter follows forward and
// backward, byte ranges included, and complains when an instruction would read anything but what it is meant to read.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dtrain/models.hpp"
#include "src/nn/buffers.hpp"
#include "tests/nn/small_networks.hpp"
#include "tests/nn/test_device.hpp"

namespace dtrain::nn {
namespace {

/// A gradient's contribution: input `input` of instruction `reader`; the loss's own gradient has reader kLoss.
constexpr int kLoss = 1 << 20;
using Contribution = std::pair<int, int>;  // reader, input

/// What a buffer holds: one instruction's result or workspace, a result of which some parts are made, or the sum of some
/// contributions to its result's gradient.
struct Content {
  enum class Kind { nothing, result, parts, workspace, gradient } kind = Kind::nothing;
  int instruction = -1;
  std::multiset<Contribution> contributions;  // of parts: {instruction, 0}

  bool operator==(const Content&) const = default;
};

class Interpreter {
 public:
  Interpreter(const std::vector<Instruction>& program, BufferAssignment assignment, bool training)
      : program_(program),
        assignment_(std::move(assignment)),
        training_(training),
        arena_(plan_arena(assignment_.lifetimes)),
        contents_(assignment_.lifetimes.size()) {
    for (std::size_t i = 0; i < program_.size(); ++i) {
      for (std::size_t k = 0; k < program_[i].inputs.size(); ++k) {
        const int input = program_[i].inputs[k];
        if (wants_gradient(input) && at(input).part_of != static_cast<int>(i))
          contributions_[input].insert({static_cast<int>(i), static_cast<int>(k)});
      }
    }
    for (int i = 0; i <= last(); ++i) {
      if (at(i).gives_logits()) contributions_[i].insert({kLoss, 0});
    }
  }

  /// All that went wrong, a line each; empty for a sound assignment.
  std::vector<std::string> run() && {
    for (int i = 0; i <= last(); ++i) forward(i);
    for (int i = 0; i <= last(); ++i) {
      if (at(i).gives_logits()) expect(buffers(i).dst, result_of(i), "the caller", "the logits");
    }
    if (!training_) return std::move(faults_);
    for (int i = 0; i <= last(); ++i) {
      if (at(i).gives_logits()) write(buffers(i).diff_dst.at(0), {Content::Kind::gradient, i, {{kLoss, 0}}});
    }
    for (int i = last(); i >= 0; --i) {
      if (at(i).has_gradient) backward(i);
    }
    return std::move(faults_);
  }

 private:
  int last() const { return static_cast<int>(program_.size()) - 1; }
  const Instruction& at(int i) const { return program_[static_cast<std::size_t>(i)]; }
  const InstructionBuffers& buffers(int i) const { return assignment_.instructions[static_cast<std::size_t>(i)]; }
  bool wants_gradient(int input) const { return training_ && input != kNetworkInput && at(input).has_gradient; }
  /// Whose result and gradient buffers an instruction's are.
  int owner(int i) const { return at(i).is_part() ? at(i).part_of : i; }
  static Content result_of(int i) { return {Content::Kind::result, i, {}}; }

  void complain(const std::string& text) { faults_.push_back(text); }
  void expect(bool condition, int i, const std::string& text) {
    if (!condition) complain(at(i).name + ": " + text);
  }
  void expect(BufferId buffer, const Content& content, const std::string& who, const std::string& what) {
    if (contents_[static_cast<std::size_t>(buffer)] != content) complain(who + " does not find " + what + " where it reads it");
  }

  bool overlap(BufferId a, BufferId b) const {
    const auto begin = [&](BufferId buffer) { return arena_.offsets[static_cast<std::size_t>(buffer)]; };
    const auto end = [&](BufferId buffer) {
      return begin(buffer) + assignment_.lifetimes[static_cast<std::size_t>(buffer)].size_bytes;
    };
    return begin(a) < end(b) && begin(b) < end(a);
  }

  void write(BufferId buffer, Content content) {
    for (std::size_t other = 0; other < contents_.size(); ++other) {
      if (overlap(buffer, static_cast<BufferId>(other))) contents_[other] = {};
    }
    contents_[static_cast<std::size_t>(buffer)] = std::move(content);
  }

  /// `written` is filled while `read` is still being read.
  void expect_apart(int i, BufferId written, const std::vector<BufferId>& read, const std::string& what) {
    for (const BufferId other : read) {
      expect(!overlap(written, other), i, what + " is written over memory that the instruction still uses");
    }
  }

  /// The whole's buffer gains a part; the first one takes it over from whatever it held.
  void write_part(int i) {
    Content& content = contents_[static_cast<std::size_t>(buffers(i).dst)];
    Content grown = content.kind == Content::Kind::parts && content.instruction == owner(i)
                        ? content
                        : Content{Content::Kind::parts, owner(i), {}};
    grown.contributions.insert({i, 0});
    write(buffers(i).dst, std::move(grown));
  }

  /// Its parts are all there, and become the result.
  void complete(int i) {
    Content parts{Content::Kind::parts, i, {}};
    for (const int input : at(i).inputs) parts.contributions.insert({input, 0});
    expect(buffers(i).dst, parts, at(i).name, "its parts");
    write(buffers(i).dst, result_of(i));
  }

  bool is_whole(int i) const {
    return std::any_of(at(i).inputs.begin(), at(i).inputs.end(),
                       [&](int input) { return input != kNetworkInput && at(input).part_of == i; });
  }

  void forward(int i) {
    const Instruction& instruction = at(i);
    if (is_whole(i)) return complete(i);
    std::vector<BufferId> in_use;
    use_scratch(i, in_use);
    for (std::size_t k = 0; k < instruction.inputs.size(); ++k) {
      const int input = instruction.inputs[k];
      if (input == kNetworkInput) continue;
      const BufferId src = buffers(input).dst;
      expect(src, result_of(owner(input)), instruction.name, "input " + std::to_string(k) + " in forward");
      const bool twice = std::count(instruction.inputs.begin(), instruction.inputs.end(), input) > 1;
      const bool is_replaced = src == buffers(i).dst && instruction.needs.dst_may_replace_src[k] && !twice;
      if (!is_replaced) in_use.push_back(src);
    }
    const BufferId workspace = buffers(i).workspace;
    expect((workspace != kNoBuffer) == (instruction.needs.workspace_bytes > 0), i, "a workspace where one is needed");
    if (workspace != kNoBuffer) {
      expect(size(workspace) >= instruction.needs.workspace_bytes, i, "its workspace is too small");
      expect_apart(i, workspace, in_use, "the workspace");
      in_use.push_back(workspace);
    }
    expect(size(buffers(i).dst) >= at(owner(i)).dst.get_size(), i, "its result's buffer is too small");
    expect_apart(i, buffers(i).dst, in_use, "the result");

    if (workspace != kNoBuffer) write(workspace, {Content::Kind::workspace, i, {}});
    instruction.is_part() ? write_part(i) : write(buffers(i).dst, result_of(i));
  }

  /// Whatever lies where the instruction's scratch is, is lost.
  void use_scratch(int i, std::vector<BufferId>& in_use) {
    const BufferId scratch = buffers(i).scratch;
    expect((scratch != kNoBuffer) == (at(i).needs.scratch_bytes > 0), i, "scratch where it is needed");
    if (scratch == kNoBuffer) return;
    expect(size(scratch) >= at(i).needs.scratch_bytes, i, "the scratch is too small");
    write(scratch, {});
    in_use.push_back(scratch);
  }

  BufferId in_backward(int i) const {
    return buffers(i).recomputed_dst != kNoBuffer ? buffers(i).recomputed_dst : buffers(i).dst;
  }

  void backward(int i) {
    const Instruction& instruction = at(i);
    const LayerNeeds& needs = instruction.needs;
    const InstructionBuffers& own = buffers(i);

    for (const int recomputed : own.recompute_first) {
      std::vector<BufferId> read;
      for (const int input : at(recomputed).inputs) {
        if (input == kNetworkInput) continue;
        expect(in_backward(input), result_of(owner(input)), at(recomputed).name, "its input, to recompute its result");
        read.push_back(in_backward(input));
      }
      use_scratch(recomputed, read);
      expect_apart(recomputed, buffers(recomputed).recomputed_dst, read, "the recomputed result");
      expect(size(buffers(recomputed).recomputed_dst) >= at(recomputed).dst.get_size(), recomputed, "too small a buffer");
      write(buffers(recomputed).recomputed_dst, result_of(recomputed));
    }

    // Gradients beyond those that the layer adds up by itself are added to the first.
    std::vector<BufferId> in_use;
    use_scratch(i, in_use);
    Content sum{Content::Kind::gradient, owner(i), {}};
    for (std::size_t k = 0; k < own.diff_dst.size(); ++k) {
      const Content& addend = contents_[static_cast<std::size_t>(own.diff_dst[k])];
      expect(addend.kind == Content::Kind::gradient && addend.instruction == owner(i), i, "its gradient is no longer there");
      sum.contributions.insert(addend.contributions.begin(), addend.contributions.end());
      expect(size(own.diff_dst[k]) >= at(owner(i)).dst.get_size(), i, "a gradient's buffer is too small");
      if (static_cast<int>(k) < needs.diff_dst_addends) in_use.push_back(own.diff_dst[k]);
    }
    expect(sum.contributions == contributions_[owner(i)], i, "a reader's gradient is missing or counted twice");

    for (std::size_t k = 0; k < instruction.inputs.size(); ++k) {
      const int input = instruction.inputs[k];
      if (!needs.src_in_backward[k] || input == kNetworkInput) continue;
      const BufferId src = in_backward(input);
      expect(src, result_of(owner(input)), instruction.name, "input " + std::to_string(k) + " in backward");
      in_use.push_back(src);
    }
    if (needs.dst_in_backward) {
      expect(own.dst, result_of(owner(i)), instruction.name, "its result in backward");
      in_use.push_back(own.dst);
    }
    if (own.workspace != kNoBuffer) {
      expect(own.workspace, {Content::Kind::workspace, i, {}}, instruction.name, "its workspace in backward");
      in_use.push_back(own.workspace);
    }
    write_gradients(i, in_use);
  }

  void write_gradients(int i, std::vector<BufferId> in_use) {
    const Instruction& instruction = at(i);
    const InstructionBuffers& own = buffers(i);
    std::vector<std::pair<BufferId, Content>> written;
    for (std::size_t k = 0; k < instruction.inputs.size(); ++k) {
      const int input = instruction.inputs[k];
      const BufferId diff_src = own.diff_src.at(k);
      if (wants_gradient(input) && at(input).part_of == i) {
        expect(diff_src == kNoBuffer && buffers(input).diff_dst == own.diff_dst, i,
               "its parts read the gradients of the whole");
        continue;
      }
      expect((diff_src != kNoBuffer) == wants_gradient(input), i, "a gradient for each input that wants one, and for no other");
      if (diff_src == kNoBuffer || input == kNetworkInput) continue;
      expect(size(diff_src) >= at(input).dst.get_size(), i, "its input's gradient has too small a buffer");
      const bool is_residual = k == 1 && instruction.needs.residual_diff_is_diff_dst;
      if (is_residual) {
        expect(diff_src == own.diff_dst[0], i, "leaves the residual's gradient in diff_dst[0], where nobody looks for it");
      } else {
        std::vector<BufferId> others = in_use;
        const bool may_replace = k == 0 && instruction.needs.diff_src_may_replace_diff_dst;
        if (may_replace && diff_src == own.diff_dst[0]) std::erase(others, diff_src);
        expect_apart(i, diff_src, others, "the gradient of input " + std::to_string(k));
        in_use.push_back(diff_src);
      }
      Content gradient{Content::Kind::gradient, owner(input), {{i, static_cast<int>(k)}}};
      if (own.adds_to_diff_src[k]) {
        const Content& sum = contents_[static_cast<std::size_t>(diff_src)];
        expect(sum.kind == Content::Kind::gradient && sum.instruction == input, i, "adds to what is not its input's gradient");
        gradient.contributions.insert(sum.contributions.begin(), sum.contributions.end());
      }
      written.push_back({diff_src, std::move(gradient)});
    }
    if (!instruction.is_part() && !is_whole(i)) {  // the gradients of a whole are read by all its parts
      for (const BufferId spent : own.diff_dst) contents_[static_cast<std::size_t>(spent)] = {};
    }
    for (auto& [buffer, content] : written) write(buffer, std::move(content));
  }

  std::size_t size(BufferId buffer) const { return assignment_.lifetimes[static_cast<std::size_t>(buffer)].size_bytes; }

  const std::vector<Instruction>& program_;
  BufferAssignment assignment_;
  bool training_;
  ArenaPlan arena_;
  std::vector<Content> contents_;                             // per buffer
  std::map<int, std::multiset<Contribution>> contributions_;  // instruction → all it must receive
  std::vector<std::string> faults_;
};

/// Layers keep a reference to the options they were built with.
struct Program {
  Program(const NetworkSpec& network, bool training, bool recompute_norm = false)
      : options{.batch = 2, .training = training, .recompute_norm = recompute_norm},
        instructions(build_program(network, options, test_device(), nullptr)) {}

  std::vector<std::string> faults(BufferAssignment assignment) const {
    return Interpreter(instructions, std::move(assignment), options.training).run();
  }
  BufferAssignment assign() const { return assign_buffers(instructions, options.training, options.recompute_norm); }

  CompileOptions options;
  std::vector<Instruction> instructions;
};

void expect_sound(const NetworkSpec& network) {
  for (const bool training : {true, false}) {
    for (const bool recompute_norm : {false, true}) {
      const Program program(network, training, recompute_norm);

      for (const std::string& fault : program.faults(program.assign())) {
        ADD_FAILURE() << network.name << (training ? "" : " in evaluation") << (recompute_norm ? ", recomputing" : "") << ": "
                      << fault;
      }
    }
  }
}

TEST(Buffers, KeepEveryValueUntilItsLastReaderInSmallNetworks) {
  for (const NetworkSpec& network : small_networks()) expect_sound(network);
}

TEST(Buffers, KeepEveryValueUntilItsLastReaderInPublishedNetworks) {
  expect_sound(build_model("resnet18", {.image_size = 64}));
  expect_sound(build_model("resnet50", {.image_size = 64}));
  expect_sound(build_model("densenet121", {.image_size = 64}));
  expect_sound(build_model("googlenet", {.image_size = 64}));
  expect_sound(build_model("resnet20", {}));
  expect_sound(build_model("mobilenet_v2", {.image_size = 64}));
  expect_sound(build_model("lenet5", {}));
  expect_sound(build_model("googlenet", {.image_size = 32, .aux_heads = true}));
}

TEST(Buffers, OfAnInterpreterThatNoticesAValueOverwrittenBeforeBackward) {
  const Program program(residual_chain(), true);
  BufferAssignment broken = program.assign();
  // A batch-norm reads its input in backward; here its result replaces that input.
  const auto norm = std::find_if(program.instructions.begin(), program.instructions.end(),
                                 [](const Instruction& i) { return i.name == "block1.bn1"; });
  const auto index = static_cast<std::size_t>(norm - program.instructions.begin());
  broken.instructions[index].dst = broken.instructions[static_cast<std::size_t>(norm->inputs[0])].dst;

  EXPECT_FALSE(program.faults(broken).empty());
}

TEST(Buffers, OfAnInterpreterThatNoticesALifetimeThatEndsTooEarly) {
  const Program program(residual_chain(), true);
  int noticed = 0;
  const auto count = static_cast<int>(program.instructions.size());
  for (int i = 0; i + 1 < count; ++i) {
    BufferAssignment broken = program.assign();
    Lifetime& lifetime = broken.lifetimes[static_cast<std::size_t>(broken.instructions[static_cast<std::size_t>(i)].dst)];
    if (lifetime.last <= count) continue;
    lifetime.last = i + 1;  // as if backward did not read it
    noticed += program.faults(broken).empty() ? 0 : 1;
  }

  EXPECT_GT(noticed, 5);
}

TEST(Buffers, OfAnInterpreterThatNoticesAuxiliaryLogitsThatDoNotLast) {
  const Program program(auxiliary_heads(), true);
  const auto instruction_of = [&](int output) {
    const auto found = std::ranges::find(program.instructions, output, &Instruction::output);
    return static_cast<std::size_t>(found - program.instructions.begin());
  };
  for (const int output : {1, 2}) {
    BufferAssignment broken = program.assign();
    broken.instructions[instruction_of(0)].dst = broken.instructions[instruction_of(output)].dst;

    EXPECT_FALSE(program.faults(broken).empty()) << output;
  }
}

TEST(Buffers, OfAnInterpreterThatNoticesALostGradient) {
  const Program program(downsampling_block(), true);
  BufferAssignment broken = program.assign();
  for (InstructionBuffers& buffers : broken.instructions) {
    if (buffers.diff_dst.size() > 1) buffers.diff_dst.pop_back();
  }

  EXPECT_FALSE(program.faults(broken).empty());
}

TEST(Buffers, RunElementwiseLayersInPlaceInEvaluation) {
  const Program program(relus_in_a_row(), false);
  const BufferAssignment assignment = program.assign();
  const auto buffer = [&](int instruction) { return assignment.instructions[static_cast<std::size_t>(instruction)].dst; };

  int in_place = 0;
  for (std::size_t i = 0; i < program.instructions.size(); ++i) {
    const Instruction& instruction = program.instructions[i];
    for (const int input : instruction.inputs) {
      in_place += input != kNetworkInput && buffer(input) == buffer(static_cast<int>(i)) ? 1 : 0;
    }
  }

  EXPECT_GE(in_place, 3);  // relu2, the sum with its relu4, relu5
}

TEST(Buffers, NeedLessMemoryInEvaluationThanInTraining) {
  const NetworkSpec network = build_model("resnet18", {.image_size = 64});
  const Program training(network, true);
  const Program evaluation(network, false);

  const std::size_t training_bytes = plan_arena(training.assign().lifetimes).size_bytes;
  const std::size_t evaluation_bytes = plan_arena(evaluation.assign().lifetimes).size_bytes;

  EXPECT_LT(evaluation_bytes, training_bytes / 4);
}

}  // namespace
}  // namespace dtrain::nn
