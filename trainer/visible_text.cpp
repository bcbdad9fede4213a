// Control characters as \xNN; see visible_text.hpp.
#include "trainer/visible_text.hpp"

#include <cstdint>

namespace dtrain {
namespace {

/// A character at the beginning of a text. length: its bytes; code: −1: no UTF-8, of length 1.
struct Character {
  std::size_t length = 1;
  std::int32_t code = -1;
};

Character first_character(std::string_view text) {
  const auto byte = [&](std::size_t at) { return static_cast<std::uint8_t>(text[at]); };
  if (byte(0) < 0x80) return {.length = 1, .code = byte(0)};
  const std::size_t length = byte(0) >= 0xf8 ? 0 : byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : byte(0) >= 0xc0 ? 2 : 0;
  if (length == 0 || length > text.size()) return {};
  std::int32_t code = byte(0) & (0x7f >> length);
  for (std::size_t at = 1; at < length; ++at) {
    if ((byte(at) & 0xc0) != 0x80) return {};
    code = (code << 6) | (byte(at) & 0x3f);
  }
  // Longer forms of shorter characters, halves of pairs, and what lies beyond the last.
  constexpr std::int32_t kSmallest[5] = {0, 0, 0x80, 0x800, 0x10000};
  if (code < kSmallest[length] || (code >= 0xd800 && code <= 0xdfff) || code > 0x10ffff) return {};
  return {.length = length, .code = code};
}

bool is_hidden(std::int32_t code) {
  const bool is_control = code < 0x20 || (code >= 0x7f && code <= 0x9f);
  const bool breaks_line = code == 0x2028 || code == 0x2029;
  const bool turns_writing = (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
  return is_control || breaks_line || turns_writing;
}

std::string visible(std::string_view text, bool keeps_lines) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  constexpr std::string_view kContinuation = "\n  ";
  std::string shown;
  while (!text.empty()) {
    const Character character = first_character(text);
    const std::string_view bytes = text.substr(0, character.length);
    if ((keeps_lines && text.starts_with(kContinuation)) || !is_hidden(character.code)) {
      shown += bytes;
    } else {
      for (const char letter : bytes) {
        const auto byte = static_cast<std::uint8_t>(letter);
        shown += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
      }
    }
    text.remove_prefix(character.length);
  }
  return shown;
}

}  // namespace

std::string visible_text(std::string_view text) { return visible(text, false); }
std::string visible_lines(std::string_view text) { return visible(text, true); }

}  // namespace dtrain
