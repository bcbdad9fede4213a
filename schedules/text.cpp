// Reading and writing the pieces of schedule texts; see text.hpp.
#include "schedules/text.hpp"

#include <array>
#include <charconv>
#include <cmath>

namespace dtrain {

std::vector<std::string_view> split_text(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const std::size_t at = text.find(separator);
    parts.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

std::string quoted(std::string_view text) {
  std::string result(1, '"');
  result += text;
  result += '"';
  return result;
}

std::string shortest_text(double value) {
  std::array<char, 32> buffer{};
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value);
  return {buffer.data(), result.ptr};
}

std::string read_number(std::string_view key, std::string_view text, NumberBound bound, double& target) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool is_number = error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
  const std::string written = std::string(key) + "=" + std::string(text);
  if (!is_number) return written + " is not a number";
  if (bound == NumberBound::positive && value <= 0.0) return written + " is not above 0";
  if (bound == NumberBound::not_negative && value < 0.0) return written + " is negative";
  target = value;
  return {};
}

}  // namespace dtrain
