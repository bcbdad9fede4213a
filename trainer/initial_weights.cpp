// Rows of a head by name; see initial_weights.hpp.
#include "trainer/initial_weights.hpp"

#include <algorithm>
#include <numeric>

#include "dtrain/error.hpp"
#include "trainer/class_matching.hpp"

namespace dtrain {
namespace {

/// Row k of the result is row order[k] of the tensor.
void reorder_rows(FileTensor& tensor, const std::vector<std::int64_t>& order) {
  const std::size_t row = tensor.f32.size() / order.size();
  std::vector<float> values;
  values.reserve(tensor.f32.size());
  for (const std::int64_t from : order) {
    const auto begin = tensor.f32.begin() + from * static_cast<std::ptrdiff_t>(row);
    values.insert(values.end(), begin, begin + static_cast<std::ptrdiff_t>(row));
  }
  tensor.f32 = std::move(values);
}

}  // namespace

std::string arrange_head(TensorFile& file, const std::vector<std::string>& names, const std::vector<std::string>& head_names) {
  const std::vector<std::string> file_names = card_of(file).class_names;
  if (file_names.empty() || names.empty()) return {};
  const auto is_head = [&](const FileTensor& tensor) { return std::ranges::find(head_names, tensor.name) != head_names.end(); };
  const std::vector<std::int64_t> order = order_of_same_classes(file_names, names);
  if (order.empty()) {
    std::erase_if(file.tensors, is_head);
    return "the head starts afresh: the file's classes are " + class_list(file_names) + ", those of the data " +
           class_list(names);
  }
  std::vector<std::int64_t> as_they_are(order.size());
  std::iota(as_they_are.begin(), as_they_are.end(), 0);
  if (order == as_they_are) return {};
  for (FileTensor& tensor : file.tensors) {
    const bool has_row_each = !tensor.shape.empty() && tensor.shape.front() == std::ssize(order);
    if (is_head(tensor) && has_row_each && !tensor.f32.empty()) reorder_rows(tensor, order);
  }
  return "the head's outputs were put into the order of the data's classes, by name";
}

}  // namespace dtrain
