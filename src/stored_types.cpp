// Conversions of stored elements; see stored_types.hpp.
#include "src/stored_types.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <vector>

namespace dtrain {
namespace {

struct StoredType {
  std::string_view name;
  std::uint64_t bits;
  ElementType taken_as;
};

// Source: github.com/huggingface/safetensors, safetensors/src/tensor.rs (Dtype).
constexpr std::array kStoredTypes{StoredType{"F64", 64, ElementType::f32},
                                  StoredType{"F32", 32, ElementType::f32},
                                  StoredType{"F16", 16, ElementType::f32},
                                  StoredType{"BF16", 16, ElementType::f32},
                                  StoredType{"I64", 64, ElementType::i64},
                                  StoredType{"I32", 32, ElementType::i64},
                                  StoredType{"I16", 16, ElementType::i64},
                                  StoredType{"I8", 8, ElementType::i64},
                                  StoredType{"U32", 32, ElementType::i64},
                                  StoredType{"U16", 16, ElementType::i64},
                                  StoredType{"U8", 8, ElementType::i64},
                                  StoredType{"BOOL", 8, ElementType::i64},
                                  StoredType{"U64", 64, ElementType::other},
                                  StoredType{"C64", 64, ElementType::other},
                                  StoredType{"F8_E5M2", 8, ElementType::other},
                                  StoredType{"F8_E4M3", 8, ElementType::other},
                                  StoredType{"F8_E8M0", 8, ElementType::other},
                                  StoredType{"F8_E5M2FNUZ", 8, ElementType::other},
                                  StoredType{"F8_E4M3FNUZ", 8, ElementType::other},
                                  StoredType{"F6_E2M3", 6, ElementType::other},
                                  StoredType{"F6_E3M2", 6, ElementType::other},
                                  StoredType{"F4", 4, ElementType::other}};

const StoredType* find_type(std::string_view name) {
  const auto* const type =
      std::find_if(kStoredTypes.begin(), kStoredTypes.end(), [&](const StoredType& t) { return t.name == name; });
  return type == kStoredTypes.end() ? nullptr : type;
}

/// Source: IEEE 754 binary16. Subnormals are (mantissa / 2^10)·2^-14.
float widen_f16(std::uint16_t half) {
  const auto sign = static_cast<std::uint32_t>(half & 0x8000u) << 16;
  const std::uint32_t exponent = (half >> 10) & 0x1fu;
  const std::uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1.0p-24f;
    return std::bit_cast<float>(std::bit_cast<std::uint32_t>(magnitude) | sign);
  }
  const std::uint32_t wide_exponent = exponent == 0x1fu ? 0xffu : exponent + (127 - 15);
  return std::bit_cast<float>(sign | (wide_exponent << 23) | (mantissa << 13));
}

float widen_bf16(std::uint16_t value) { return std::bit_cast<float>(static_cast<std::uint32_t>(value) << 16); }

template <typename Stored, typename Element, typename Convert>
void convert(std::span<const std::byte> bytes, std::vector<Element>& elements, const Convert& convert_one) {
  elements.resize(bytes.size() / sizeof(Stored));
  for (std::size_t i = 0; i < elements.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, bytes.data() + i * sizeof(Stored), sizeof(Stored));
    elements[i] = convert_one(stored);
  }
}

template <typename Stored>
void widen(std::span<const std::byte> bytes, std::vector<std::int64_t>& elements) {
  convert<Stored>(bytes, elements, [](Stored value) { return static_cast<std::int64_t>(value); });
}

}  // namespace

std::optional<std::uint64_t> stored_bits(std::string_view type) {
  const StoredType* const found = find_type(type);
  return found == nullptr ? std::nullopt : std::optional(found->bits);
}

ElementType element_type_of(std::string_view stored_type) {
  const StoredType* const found = find_type(stored_type);
  return found == nullptr ? ElementType::other : found->taken_as;
}

void take_elements(std::span<const std::byte> bytes, FileTensor& tensor) {
  const std::string_view type = tensor.stored_type;
  if (type == "F32") convert<float>(bytes, tensor.f32, [](float value) { return value; });
  if (type == "F16") convert<std::uint16_t>(bytes, tensor.f32, widen_f16);
  if (type == "BF16") convert<std::uint16_t>(bytes, tensor.f32, widen_bf16);
  if (type == "F64") convert<double>(bytes, tensor.f32, [](double value) { return static_cast<float>(value); });
  if (type == "I64") widen<std::int64_t>(bytes, tensor.i64);
  if (type == "I32") widen<std::int32_t>(bytes, tensor.i64);
  if (type == "I16") widen<std::int16_t>(bytes, tensor.i64);
  if (type == "I8") widen<std::int8_t>(bytes, tensor.i64);
  if (type == "U32") widen<std::uint32_t>(bytes, tensor.i64);
  if (type == "U16") widen<std::uint16_t>(bytes, tensor.i64);
  if (type == "U8" || type == "BOOL") widen<std::uint8_t>(bytes, tensor.i64);
}

}  // namespace dtrain
