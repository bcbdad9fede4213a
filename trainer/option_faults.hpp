// Collecting what is wrong with a configuration: every fault, each with its option.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "dtrain/error.hpp"

namespace dtrain {

/// "0.1", as printf's %g.
std::string option_number(double value);

/// Collects faults; each check names its option.
class Faults {
 public:
  void add(Fault fault) { texts_.push_back(to_text(fault)); }

  void require(bool holds, const char* option, const std::string& expected, const std::string& found) {
    if (!holds) add({.doing = option, .expected = expected, .found = found});
  }

  void at_least(std::int64_t value, std::int64_t lowest, const char* option) {
    require(value >= lowest, option, "a whole number from " + std::to_string(lowest), std::to_string(value));
  }

  void within(std::int64_t value, std::int64_t lowest, std::int64_t highest, const char* option) {
    require(value >= lowest && value <= highest, option,
            "a whole number from " + std::to_string(lowest) + " to " + std::to_string(highest), std::to_string(value));
  }

  /// Both included; not a number is outside.
  void number_within(double value, double lowest, double highest, const char* option);

  void positive(double value, const char* option);

  void not_negative(double value, const char* option);

  /// [0, 1)
  void fraction(double value, const char* option) {
    require(value >= 0.0 && value < 1.0, option, "a number from 0 to below 1", option_number(value));
  }

  void one_of(const std::string& value, const std::vector<std::string>& known, const char* option);

  /// Runs a function that throws ConfigError for a fault; the option is named where the error does not do so.
  template <typename Action>
  void collect(const std::string& option, Action action) {
    try {
      action();
    } catch (const ConfigError& error) {
      const std::string text = error.what();
      texts_.push_back(text.find(option) == std::string::npos ? option + ": " + text : text);
    }
  }

  std::vector<std::string> take() { return std::move(texts_); }

 private:
  std::vector<std::string> texts_;
};

}  // namespace dtrain
