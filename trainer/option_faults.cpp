// Faults of options; see option_faults.hpp.
#include "trainer/option_faults.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "trainer/config.hpp"

namespace dtrain {
namespace {

std::string alternatives(const std::vector<std::string>& words) {
  std::string text;
  for (std::size_t i = 0; i < words.size(); ++i) text += (i == 0 ? "" : i + 1 == words.size() ? " or " : ", ") + words[i];
  return text;
}

}  // namespace

std::string option_number(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%g", value);
  return buffer.data();
}

void Faults::number_within(double value, double lowest, double highest, const char* option) {
  require(value >= lowest && value <= highest, option,
          "a number from " + option_number(lowest) + " to " + option_number(highest), option_number(value));
}

void Faults::positive(double value, const char* option) {
  require(std::isfinite(value) && value > 0.0, option, "a number above 0", option_number(value));
}

void Faults::not_negative(double value, const char* option) {
  require(std::isfinite(value) && value >= 0.0, option, "a number from 0", option_number(value));
}

void Faults::one_of(const std::string& value, const std::vector<std::string>& known, const char* option) {
  if (std::find(known.begin(), known.end(), value) != known.end()) return;
  const std::string nearest = nearest_name(value, known);
  add({.doing = option,
       .expected = alternatives(known),
       .found = "'" + value + "'",
       .remedy = nearest.empty() ? "" : std::string(option) + " " + nearest});
}

}  // namespace dtrain
