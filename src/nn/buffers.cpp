// In-place execution, gradient buffers and lifetimes; see buffers.hpp.
#include "src/nn/buffers.hpp"

#include <algorithm>

namespace dtrain::nn {
namespace {

class Assigner {
 public:
  /// longest_chain: residual sums in a row that are recomputed one from the other; 0: nothing is recomputed.
  Assigner(const std::vector<Instruction>& program, bool training, int longest_chain)
      : program_(program), training_(training), count_(static_cast<int>(program.size())), is_recomputed_(program.size()) {
    result_.instructions.resize(program.size());
    if (training && longest_chain > 0) choose_recomputed(longest_chain);
  }

  BufferAssignment assign() && {
    assign_recomputed();
    assign_results();
    if (training_) assign_gradients();
    assign_scratch();
    return std::move(result_);
  }

 private:
  int backward_time(int instruction) const { return 2 * count_ - 1 - instruction; }
  const Instruction& at(int instruction) const { return program_[static_cast<std::size_t>(instruction)]; }
  InstructionBuffers& buffers(int instruction) { return result_.instructions[static_cast<std::size_t>(instruction)]; }
  Lifetime& lifetime(BufferId buffer) { return result_.lifetimes[static_cast<std::size_t>(buffer)]; }

  BufferId create(std::size_t size_bytes, int first, int last) {
    result_.lifetimes.push_back({.size_bytes = size_bytes, .first = first, .last = last});
    return static_cast<BufferId>(result_.lifetimes.size()) - 1;
  }

  /// Whether backward of instruction i reads its input k.
  bool reads_in_backward(int i, std::size_t k) const {
    return training_ && at(i).has_gradient && at(i).needs.src_in_backward[k];
  }

  void choose_recomputed(int longest_chain) {
    std::vector<int> chain(program_.size(), 0);
    for (int i = 0; i < count_; ++i) {
      const std::vector<int>& inputs = at(i).inputs;
      int longest = 0;
      for (const int input : inputs) {
        if (is_recomputed(input)) longest = std::max(longest, chain[static_cast<std::size_t>(input)]);
      }
      const int own = longest + (inputs.size() > 1 ? 1 : 0);
      chain[static_cast<std::size_t>(i)] = own;
      is_recomputed_[static_cast<std::size_t>(i)] =
          at(i).needs.can_recompute && !at(i).is_part() && !at(i).needs.dst_in_backward && own <= longest_chain;
    }
  }

  bool is_recomputed(int i) const { return i != kNetworkInput && is_recomputed_[static_cast<std::size_t>(i)]; }

  void assign_recomputed() {
    recomputed_at_.assign(program_.size(), kNever);
    for (int reader = count_ - 1; reader >= 0; --reader) {
      for (std::size_t k = 0; k < at(reader).inputs.size(); ++k) {
        if (reads_in_backward(reader, k)) recompute_for(reader, at(reader).inputs[k]);
      }
    }
  }

  /// A recomputed result stands in a buffer of its own, from the first time that backward wants it to the last. What it is
  /// computed from comes first: residual sums that follow each other are all recomputed when the last one is wanted.
  void recompute_for(int reader, int i) {
    if (!is_recomputed(i)) return;
    const int now = backward_time(reader);
    BufferId& again = buffers(i).recomputed_dst;
    if (again == kNoBuffer) {
      for (const int input : at(i).inputs) recompute_for(reader, input);
      again = create(at(i).dst.get_size(), now, now);
      buffers(reader).recompute_first.push_back(i);
      recomputed_at_[static_cast<std::size_t>(i)] = now;
    }
    lifetime(again).last = now;
  }

  /// Last time at which a result is read, in backward where it is kept for that.
  std::vector<int> last_uses() const {
    std::vector<int> last(program_.size());
    for (int i = 0; i < count_; ++i) {
      const bool backward_reads = training_ && at(i).has_gradient && at(i).needs.dst_in_backward;
      last[static_cast<std::size_t>(i)] = backward_reads ? backward_time(i) : (at(i).gives_logits() ? count_ : i);
    }
    for (int i = 0; i < count_; ++i) {
      for (std::size_t k = 0; k < at(i).inputs.size(); ++k) {
        const int input = at(i).inputs[k];
        if (input == kNetworkInput) continue;
        auto& last_use = last[static_cast<std::size_t>(input)];
        last_use = std::max(last_use, i);
        if (is_recomputed(input)) continue;
        if (reads_in_backward(i, k)) last_use = std::max(last_use, backward_time(i));
        if (is_recomputed(i)) last_use = std::max(last_use, recomputed_at_[static_cast<std::size_t>(i)]);
      }
    }
    return last;
  }

  void assign_results() {
    const std::vector<int> last = last_uses();
    for (int i = 0; i < count_; ++i) {
      const int whole = at(i).is_part() ? at(i).part_of : i;
      BufferId& dst = buffers(whole).dst;  // of a Concat, created for its first part
      if (dst == kNoBuffer && !at(i).is_part()) dst = replaceable_input(i);
      if (dst == kNoBuffer) dst = create(at(whole).dst.get_size(), i, i);
      buffers(i).dst = dst;
      lifetime(dst).last = std::max(lifetime(dst).last, last[static_cast<std::size_t>(i)]);
      if (at(i).needs.workspace_bytes > 0) {
        const int until = training_ && at(i).has_gradient ? backward_time(i) : i;
        buffers(i).workspace = create(at(i).needs.workspace_bytes, i, until);
      }
    }
  }

  /// Buffer of an input that nobody reads after this instruction and that its result may replace.
  BufferId replaceable_input(int i) {
    const Instruction& instruction = at(i);
    for (std::size_t k = 0; k < instruction.inputs.size(); ++k) {
      const int input = instruction.inputs[k];
      if (input == kNetworkInput || !instruction.needs.dst_may_replace_src[k]) continue;
      const BufferId buffer = buffers(input).dst;
      const auto readings = std::count_if(instruction.inputs.begin(), instruction.inputs.end(),
                                          [&](int other) { return other != kNetworkInput && buffers(other).dst == buffer; });
      if (readings == 1 && lifetime(buffer).last <= i && lifetime(buffer).size_bytes == instruction.dst.get_size()) {
        return buffer;
      }
    }
    return kNoBuffer;
  }

  void assign_scratch() {
    for (int i = 0; i < count_; ++i) {
      if (at(i).needs.scratch_bytes == 0) continue;
      const BufferId scratch = create(at(i).needs.scratch_bytes, i, i);
      if (training_ && at(i).has_gradient) lifetime(scratch).also.push_back(backward_time(i));
      if (buffers(i).recomputed_dst != kNoBuffer) lifetime(scratch).also.push_back(recomputed_at_[static_cast<std::size_t>(i)]);
      buffers(i).scratch = scratch;
    }
  }

  void assign_gradients() {
    for (int i = 0; i < count_; ++i) {  // the loss fills all of these before backward begins
      if (at(i).gives_logits()) buffers(i).diff_dst.push_back(create(at(i).dst.get_size(), count_, backward_time(i)));
    }
    for (int i = count_ - 1; i >= 0; --i) {
      if (!at(i).has_gradient) continue;
      auto& own = buffers(i);
      const int now = backward_time(i);
      for (const BufferId diff : own.diff_dst) lifetime(diff).last = std::max(lifetime(diff).last, now);
      own.diff_src.assign(at(i).inputs.size(), kNoBuffer);
      own.adds_to_diff_src.assign(at(i).inputs.size(), false);
      for (std::size_t k = 0; k < at(i).inputs.size(); ++k) {
        const int input = at(i).inputs[k];
        if (input == kNetworkInput || !at(input).has_gradient) continue;
        if (at(input).part_of == i) {
          buffers(input).diff_dst = own.diff_dst;
          continue;
        }
        std::vector<BufferId>& gradients = buffers(input).diff_dst;
        own.adds_to_diff_src[k] = at(i).needs.adds_to_diff_src && !gradients.empty();
        own.diff_src[k] = own.adds_to_diff_src[k] ? gradients.front() : gradient_buffer(i, k, input, now);
        lifetime(own.diff_src[k]).last = std::max(lifetime(own.diff_src[k]).last, backward_time(input));
        if (!own.adds_to_diff_src[k]) gradients.push_back(own.diff_src[k]);
      }
    }
  }

  // Note [Every gradient buffer has one owner]: a buffer in diff_dst belongs to that result alone, so backward may overwrite
  // it. The residual's gradient *is* diff_dst[0]; then input 0 must not replace it.
  BufferId gradient_buffer(int i, std::size_t input_index, int input, int now) {
    const LayerNeeds& needs = at(i).needs;
    const BufferId diff_dst = buffers(i).diff_dst.front();
    if (input_index == 1 && needs.residual_diff_is_diff_dst) return diff_dst;
    const bool same_size = !at(i).is_part() && lifetime(diff_dst).size_bytes == at(input).dst.get_size();
    if (input_index == 0 && needs.diff_src_may_replace_diff_dst && same_size) return diff_dst;
    return create(at(input).dst.get_size(), now, now);
  }

  const std::vector<Instruction>& program_;
  bool training_;
  int count_;
  std::vector<bool> is_recomputed_;  // per instruction
  static constexpr int kNever = -1;
  std::vector<int> recomputed_at_;  // per instruction: when
  BufferAssignment result_;
};

}  // namespace

// Where residual sums follow each other, recomputing the last one needs all before it, back to one that was kept: long chains
// keep less until backward, and more at once within it. What is smallest depends on the network, and planning is cheap.
BufferAssignment assign_buffers(const std::vector<Instruction>& program, bool training, bool recompute_norm) {
  BufferAssignment best = Assigner(program, training, 0).assign();
  if (!training || !recompute_norm) return best;
  std::size_t smallest = plan_arena(best.lifetimes).size_bytes;
  for (const int longest_chain : {1, 2, 3, 4, 6, 8, 12, static_cast<int>(program.size())}) {
    BufferAssignment next = Assigner(program, training, longest_chain).assign();
    const std::size_t size_bytes = plan_arena(next.lifetimes).size_bytes;
    if (size_bytes < smallest) best = std::move(next), smallest = size_bytes;
  }
  return best;
}

}  // namespace dtrain::nn
