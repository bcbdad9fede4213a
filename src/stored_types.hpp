// The element types of safetensors: how many bits one takes, and what is read of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "dtrain/checkpoint.hpp"

namespace dtrain {

/// Bits of an element of the type with this name; nullopt: a type that was not known when this was written.
std::optional<std::uint64_t> stored_bits(std::string_view type);

/// F32, F16, BF16 and F64 are taken as f32; I64, I32, I16, I8, U32, U16, U8 and BOOL as i64; all others as they are.
ElementType element_type_of(std::string_view stored_type);

/// Converts stored elements to those of `tensor`, whose stored_type and type are set. Nothing is kept of type `other`.
void take_elements(std::span<const std::byte> bytes, FileTensor& tensor);

}  // namespace dtrain
