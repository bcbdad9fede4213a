// See mutations.hpp.
#include "tests/launch/mutations.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <limits>

namespace dtrain::test {
namespace {

constexpr std::size_t kLengthBytes = 8;

const std::vector<std::string>& odd_numbers() {
  static const std::vector<std::string> numbers{"0",
                                                "1",
                                                "-1",
                                                "4",
                                                "2147483648",
                                                "4294967296",
                                                "4611686018427387904",
                                                "9223372036854775807",
                                                "18446744073709551615",
                                                "99999999999999999999",
                                                "0.5",
                                                "1e308",
                                                "1e999",
                                                "-0",
                                                "00",
                                                "null",
                                                "true",
                                                "\"1\"",
                                                "[]",
                                                "[1]",
                                                "{}"};
  return numbers;
}

const std::vector<std::string>& odd_texts() {
  static const std::vector<std::string> texts{"",
                                              "F32",
                                              "F16",
                                              "BF16",
                                              "I64",
                                              "BOOL",
                                              "F4",
                                              "C64",
                                              "F9",
                                              "__metadata__",
                                              "model",
                                              "lenet5",
                                              "small",
                                              "dtrain.version",
                                              "dtrain.checksum",
                                              "conv1.weight",
                                              "module.conv1.weight",
                                              "bn1.running_var",
                                              "optimizer.velocity.fc.bias",
                                              "rank_statistics.images",
                                              "nan",
                                              "-1",
                                              "18446744073709551616",
                                              "[\"a\",\"b\"]",
                                              "[[[[]]]]",
                                              "\\u0000",
                                              "\\ud800",
                                              "\xff"};
  return texts;
}

const std::vector<float>& odd_values() {
  using Limits = std::numeric_limits<float>;
  static const std::vector<float> values{
      0.0f, -0.0f, -1.0f, Limits::infinity(), Limits::quiet_NaN(), Limits::max(), Limits::denorm_min()};
  return values;
}

/// Bytes of the header of a safetensors file; 0: it is none.
std::size_t header_bytes(const std::string& file) {
  std::uint64_t length = 0;
  if (file.size() < kLengthBytes) return 0;
  std::memcpy(&length, file.data(), kLengthBytes);
  return length <= file.size() - kLengthBytes ? static_cast<std::size_t>(length) : 0;
}

}  // namespace

std::string Mutator::bytes(std::string file, const std::string& other) {
  const std::uint64_t changes = 1 + below(4);
  for (std::uint64_t i = 0; i < changes; ++i) {
    if (below(2) == 0 && change_header(file)) continue;
    change_bytes(file, other);
  }
  return file;
}

void Mutator::change_bytes(std::string& file, const std::string& other) {
  const std::size_t at = file.empty() ? 0 : below(file.size());
  const std::size_t run = std::min<std::size_t>(1 + below(64), file.size() - at);
  switch (below(8)) {
    case 0:
      if (!file.empty()) file[at] = static_cast<char>(file[at] ^ (1 << below(8)));
      break;
    case 1:
      for (std::size_t i = at; i < at + run; ++i) file[i] = static_cast<char>(below(256));
      break;
    case 2:
      std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), run, below(2) == 0 ? '\0' : '\xff');
      break;
    case 3:
      file.resize(at);
      break;
    case 4:
      file += std::string(run, static_cast<char>(below(256)));
      break;
    case 5:
      file.insert(at, file.substr(at, run));
      break;
    case 6:
      file.erase(at, run);
      break;
    default:
      if (!other.empty()) file = file.substr(0, at) + other.substr(below(other.size()));
      break;
  }
}

bool Mutator::change_header(std::string& file) {
  const std::size_t size = header_bytes(file);
  if (size < 2) return false;
  std::string header = file.substr(kLengthBytes, size);
  const auto ends_of = [&](std::size_t begin, auto belongs) {
    std::size_t end = begin;
    while (end < header.size() && belongs(header[end])) ++end;
    return end;
  };
  const std::size_t from = below(header.size());
  const std::size_t digit = header.find_first_of("0123456789", from);
  const std::size_t opening = header.find('"', from);
  const std::size_t bracket = header.find_first_of("[]{}:,", from);
  switch (below(4)) {
    case 0:
      if (digit == std::string::npos) return false;
      header.replace(digit, ends_of(digit, [](char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }) - digit,
                     one_of(odd_numbers()));
      break;
    case 1:
      if (opening == std::string::npos) return false;
      header.replace(opening + 1, ends_of(opening + 1, [](char c) { return c != '"'; }) - opening - 1, one_of(odd_texts()));
      break;
    case 2:
      if (bracket == std::string::npos) return false;
      header[bracket] = "[]{}:,\""[below(7)];
      break;
    default:  // deep, or long
      if (bracket == std::string::npos) return false;
      header.insert(bracket, std::string(1 + below(5000), "[{1,"[below(4)]));
      break;
  }
  file = file.substr(0, kLengthBytes) + header + file.substr(kLengthBytes + size);
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, kLengthBytes);
  return true;
}

std::string Mutator::changed_text(std::string text) {
  const std::size_t at = text.empty() ? 0 : below(text.size());
  switch (below(4)) {
    case 0:
      return one_of(odd_texts()) == "\xff" ? "x" : odd_texts()[below(odd_texts().size() - 1)];  // it has to be written
    case 1:
      return odd_numbers()[below(odd_numbers().size())];
    case 2:
      return text.substr(0, at);
    default:
      if (!text.empty()) text[at] = static_cast<char>(' ' + below(95));
      return std::all_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x80; }) ? text : "x";
  }
}

TensorFile Mutator::contents(TensorFile file) {
  if (below(2) == 0 && !file.metadata.empty()) {
    auto entry = file.metadata.begin();
    std::advance(entry, static_cast<std::ptrdiff_t>(below(file.metadata.size())));
    if (below(6) == 0) {
      file.metadata.erase(entry);
    } else if (entry->first != "dtrain.version") {
      entry->second = changed_text(entry->second);
    }
    return file;
  }
  FileTensor& tensor = file.tensors[below(file.tensors.size())];
  switch (below(6)) {
    case 0: {
      const std::string name = changed_text(tensor.name);
      if (file.find(name) == nullptr && !name.empty() && name != "__metadata__") tensor.name = name;
      break;
    }
    case 1:
      std::reverse(tensor.shape.begin(), tensor.shape.end());
      break;
    case 2:
      tensor.shape = {element_count(tensor.shape)};
      break;
    case 3:
      if (!tensor.f32.empty()) tensor.f32[below(tensor.f32.size())] = one_of(odd_values());
      if (!tensor.i64.empty())
        tensor.i64[below(tensor.i64.size())] = below(2) == 0 ? -5 : std::numeric_limits<std::int64_t>::max();
      break;
    case 4:
      if (tensor.type == ElementType::f32) {
        tensor.type = ElementType::i64;
        tensor.i64.assign(tensor.f32.begin(), tensor.f32.end());
        tensor.f32.clear();
      }
      break;
    default:
      file.tensors.erase(file.tensors.begin() + (&tensor - file.tensors.data()));
      break;
  }
  return file;
}

}  // namespace dtrain::test
