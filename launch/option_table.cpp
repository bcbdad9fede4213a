// Rows, their conversions, and the walk over the command line.
#include "launch/option_table.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cxxopts.hpp>
#include <filesystem>
#include <system_error>
#include <type_traits>
#include <utility>

#include "dtrain/error.hpp"
#include "launch/habits.hpp"
#include "schedules/text.hpp"
#include "trainer/config.hpp"

namespace dtrain {
namespace {

constexpr std::size_t kHelpColumns = 110;
/// Under this name cxxopts keeps the positional argument; no option may have it.
constexpr const char* kPositionalName = "positional-argument";

template <typename Number>
bool read_number(const std::string& text, Number& number) {
  const char* const end = text.data() + text.size();
  Number value{};
  const auto [rest, fault] = std::from_chars(text.data(), end, value);
  if (fault != std::errc{} || rest != end || text.empty()) return false;
  number = value;
  return true;
}

template <typename Number>
std::string value_text(Number value) {
  if constexpr (std::is_floating_point_v<Number>) return shortest_text(value);
  return std::to_string(value);
}
template <typename Number>
std::string value_text(const std::optional<Number>& value) {
  return value ? value_text(*value) : "";
}

std::string shown(double value) {
  std::array<char, 32> buffer{};
  std::snprintf(buffer.data(), buffer.size(), "%g", value);
  return buffer.data();
}

template <typename Whole, typename Field>
Option whole_row(std::string name, std::string text, std::int64_t lowest, Field& field, std::string default_text) {
  const auto apply = [&field, lowest](const std::string& value) -> std::string {
    Whole number{};
    if (!read_number(value, number) || number < lowest) return "a whole number from " + std::to_string(lowest);
    field = number;
    return {};
  };
  return {.name = std::move(name),
          .value = "N",
          .text = std::move(text),
          .default_text = std::move(default_text),
          .apply = apply,
          .now = [&field] { return value_text(field); }};
}

template <typename Number>
Option number_row(std::string name, std::string text, Number& field, std::string default_text, bool must_be_positive = false) {
  const auto apply = [&field, must_be_positive](const std::string& value) -> std::string {
    double number = 0.0;
    const bool is_read = read_number(value, number) && std::isfinite(number);
    if (must_be_positive && (!is_read || number <= 0.0)) return "a number above 0";
    if (!is_read) return "a number";
    field = number;
    return {};
  };
  return {.name = std::move(name),
          .value = "F",
          .text = std::move(text),
          .default_text = std::move(default_text),
          .apply = apply,
          .now = [&field] { return value_text(field); }};
}

std::vector<std::string> option_names(const OptionTable& table) {
  std::vector<std::string> names{"help"};
  for (const Option& option : table.options) names.push_back(option.name);
  return names;
}

const Option* find_option(const OptionTable& table, const std::string& name) {
  const auto found =
      std::find_if(table.options.begin(), table.options.end(), [&](const Option& option) { return option.name == name; });
  return found == table.options.end() ? nullptr : &*found;
}

std::string unknown_option(const OptionTable& table, const std::string& written) {
  const std::string name = written.substr(std::min(written.find_first_not_of('-'), written.size()));
  const std::vector<std::string> names = option_names(table);
  const std::string nearest = nearest_name(name, names);
  std::string remedy = habitual_option(written, names);
  if (remedy.empty()) remedy = nearest.empty() ? table.program + " --help" : "--" + nearest;
  return to_text(Fault{
      .doing = written, .expected = "an option of " + table.program, .found = "an unknown one", .remedy = std::move(remedy)});
}

/// Words that belong to no option: a data directory, as the last word of PyTorch's example, or a dash that an editor has turned
/// into a longer one.
std::string stray_argument(const OptionTable& table, const std::string& argument) {
  Fault fault{.doing = "'" + argument + "'",
              .expected = "options, which begin with --",
              .found = "an argument that belongs to none",
              .remedy = table.program + " --help"};
  std::error_code error;
  if (argument.starts_with("\u2013") || argument.starts_with("\u2014") || argument.starts_with("\u2212")) {
    fault.found = "a dash that is no hyphen, as editors and web pages make of --";
    fault.remedy = "--" + argument.substr(std::min(argument.find_first_of("abcdefghijklmnopqrstuvwxyz"), argument.size()));
  } else if (find_option(table, "data") != nullptr && std::filesystem::is_directory(argument, error)) {
    fault.remedy = "--data " + argument;
  }
  return to_text(fault);
}

std::string spaced_value(const std::string& written, const std::string& value) {
  return to_text(Fault{.doing = written,
                       .expected = "its value after one blank, or after = without blanks",
                       .found = "= with blanks around it",
                       .remedy = written + (value.empty() ? " VALUE" : "=" + value)});
}

bool looks_like_option(const std::string& argument) { return argument.size() > 2 && argument.starts_with("--"); }

/// Ties each option to its value ("--lr 0.1" becomes "--lr=0.1") and sorts out what cxxopts would stop at: unknown options,
/// options without their value.
std::vector<std::string> tie_values(const OptionTable& table, const std::vector<std::string>& arguments,
                                    std::vector<std::string>& faults) {
  std::vector<std::string> tied;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& argument = arguments[i];
    const bool is_single_dash = argument.size() > 1 && argument[0] == '-' && argument[1] != '-';
    if (!looks_like_option(argument) && !is_single_dash) {
      tied.push_back(argument);
      continue;
    }
    const auto equals = argument.find('=');
    const std::string written = argument.substr(0, equals);
    const Option* const option = is_single_dash ? nullptr : find_option(table, written.substr(2));
    const bool has_next = i + 1 < arguments.size() && !looks_like_option(arguments[i + 1]);
    const std::string next = has_next ? arguments[i + 1] : "";
    if (option == nullptr) {
      faults.push_back(unknown_option(table, written));
      // What follows is most likely its value.
      if (equals == std::string::npos && has_next) ++i;
    } else if (option->value.empty()) {
      if (equals == std::string::npos) {
        tied.push_back(argument);
      } else {
        faults.push_back(to_text(Fault{.doing = written, .expected = "no value", .found = argument.substr(equals)}));
      }
    } else if (equals != std::string::npos && equals + 1 == argument.size() && has_next) {
      faults.push_back(spaced_value(written, next));  // "--lr= 0.1"
      ++i;
    } else if (equals != std::string::npos) {
      tied.push_back(argument);
    } else if (next == "=") {  // "--lr = 0.1"
      const bool has_value = i + 2 < arguments.size() && !looks_like_option(arguments[i + 2]);
      faults.push_back(spaced_value(written, has_value ? arguments[i + 2] : ""));
      i += has_value ? 2 : 1;
    } else if (next.starts_with("=")) {  // "--lr =0.1"
      faults.push_back(spaced_value(written, next.substr(1)));
      ++i;
    } else if (has_next) {
      tied.push_back(written + "=" + arguments[++i]);
    } else if (!option->bare_value.empty()) {
      tied.push_back(written + "=" + option->bare_value);
    } else {
      faults.push_back(
          to_text(Fault{.doing = written, .expected = "a value", .found = "none", .remedy = written + " " + option->value}));
    }
  }
  return tied;
}

// Note [Line breaks pass cxxopts in disguise]
// It takes no value with a line break, which a path may have: to it, '\n' is ESCAPE n, '\r' is ESCAPE r, and ESCAPE is itself
// twice.
constexpr char kEscape = '\x01';

std::string without_line_breaks(const std::string& text) {
  std::string disguised;
  for (const char letter : text) {
    if (letter == '\n' || letter == '\r' || letter == kEscape) disguised += kEscape;
    disguised += letter == '\n' ? 'n' : letter == '\r' ? 'r' : letter;
  }
  return disguised;
}

std::string with_line_breaks(const std::string& disguised) {
  std::string text;
  for (std::size_t at = 0; at < disguised.size(); ++at) {
    const bool is_escaped = disguised[at] == kEscape && at + 1 < disguised.size();
    const char letter = is_escaped ? disguised[++at] : disguised[at];
    text += is_escaped && letter == 'n' ? '\n' : is_escaped && letter == 'r' ? '\r' : letter;
  }
  return text;
}

cxxopts::Options cxxopts_of(const OptionTable& table) {
  cxxopts::Options options(table.program, table.purpose);
  options.set_width(kHelpColumns);
  options.custom_help("[options]");
  for (const Option& option : table.options) {
    auto value = option.value.empty() ? std::shared_ptr<cxxopts::Value>(cxxopts::value<bool>())
                                      : std::shared_ptr<cxxopts::Value>(cxxopts::value<std::string>());
    const std::string text = option.default_text.empty() ? option.text : option.text + " [" + option.default_text + "]";
    options.add_option(option.group, "", option.name, text, value, option.value);
  }
  if (!table.positional.label.empty()) options.positional_help(table.positional.label);
  if (table.positional.field != nullptr) {
    options.add_option("", "", kPositionalName, "", cxxopts::value<std::string>(), "");
    options.parse_positional(kPositionalName);
  }
  return options;
}

}  // namespace

Option text_option(std::string name, std::string value, std::string text, std::string& field, std::string default_text) {
  return {.name = std::move(name),
          .value = std::move(value),
          .text = std::move(text),
          .default_text = default_text.empty() ? field : std::move(default_text),
          .apply = [&field](const std::string& given) -> std::string {
            if (given.empty()) return "a value";
            field = given;
            return {};
          },
          .now = [&field] { return field; }};
}

Option whole_option(std::string name, std::string text, std::int64_t lowest, std::int64_t& field, std::string default_text) {
  return whole_row<std::int64_t>(std::move(name), std::move(text), lowest, field,
                                 default_text.empty() ? std::to_string(field) : std::move(default_text));
}

Option whole_option(std::string name, std::string text, std::int64_t lowest, int& field, std::string default_text) {
  return whole_row<int>(std::move(name), std::move(text), lowest, field,
                        default_text.empty() ? std::to_string(field) : std::move(default_text));
}

Option whole_option(std::string name, std::string text, std::int64_t lowest, std::optional<std::int64_t>& field,
                    std::string default_text) {
  return whole_row<std::int64_t>(std::move(name), std::move(text), lowest, field, std::move(default_text));
}

Option seed_option(std::string text, std::uint64_t& field) {
  return {.name = "seed",
          .value = "N",
          .text = std::move(text),
          .default_text = std::to_string(field),
          .apply = [&field](const std::string& value) -> std::string {
            return read_number(value, field) ? "" : "a whole number from 0";
          },
          .now = [&field] { return std::to_string(field); }};
}

Option number_option(std::string name, std::string text, double& field, std::string default_text) {
  return number_row(std::move(name), std::move(text), field, default_text.empty() ? shown(field) : std::move(default_text));
}

Option number_option(std::string name, std::string text, std::optional<double>& field, std::string default_text) {
  return number_row(std::move(name), std::move(text), field, std::move(default_text));
}

Option positive_option(std::string name, std::string text, double& field, std::string default_text) {
  return number_row(std::move(name), std::move(text), field, std::move(default_text), true);
}

Option on_off_option(std::string name, std::string text, bool& field) {
  return {.name = std::move(name),
          .value = "on|off",
          .text = std::move(text),
          .default_text = field ? "on" : "off",
          .bare_value = "on",
          .apply = [&field](const std::string& value) -> std::string {
            if (value != "on" && value != "off") return "on or off";
            field = value == "on";
            return {};
          },
          .now = [&field]() -> std::string { return field ? "on" : "off"; }};
}

Option switch_option(std::string name, std::string text, bool& field) {
  return {.name = std::move(name),
          .value = {},
          .text = std::move(text),
          .apply = [&field](const std::string&) -> std::string {
            field = true;
            return {};
          },
          .now = [&field]() -> std::string { return field ? "given" : "not given"; }};
}

void add_group(OptionTable& table, const std::string& group, std::vector<Option> options) {
  for (Option& option : options) {
    option.group = group;
    table.options.push_back(std::move(option));
  }
}

std::vector<std::string> apply_arguments(const OptionTable& table, const std::vector<std::string>& arguments) {
  std::vector<std::string> faults;
  std::vector<std::string> tied = tie_values(table, arguments, faults);
  for (std::string& argument : tied) argument = without_line_breaks(argument);
  std::vector<const char*> argv{table.program.c_str()};
  for (const std::string& argument : tied) argv.push_back(argument.c_str());
  cxxopts::Options options = cxxopts_of(table);
  options.allow_unrecognised_options();
  const cxxopts::ParseResult parsed = options.parse(static_cast<int>(argv.size()), argv.data());

  for (const Option& option : table.options) {
    if (parsed.count(option.name) == 0) continue;
    const std::string value = option.value.empty() ? "" : with_line_breaks(parsed[option.name].as<std::string>());
    const std::string expected = option.apply(value);
    if (!expected.empty()) {
      faults.push_back(to_text(Fault{.doing = "--" + option.name, .expected = expected, .found = "'" + value + "'"}));
    }
  }
  std::vector<std::string> stray = parsed.unmatched();
  std::ranges::transform(stray, stray.begin(), with_line_breaks);
  if (const Positional& positional = table.positional; !positional.label.empty()) {
    const bool has_one = positional.field != nullptr && parsed.count(kPositionalName) > 0;
    if (has_one) {
      *positional.field = with_line_breaks(parsed[kPositionalName].as<std::string>());
    } else if (positional.fields != nullptr && !stray.empty()) {
      *positional.fields = std::move(stray);
      stray.clear();
    } else if (positional.is_required) {
      faults.push_back(to_text(Fault{.doing = table.program,
                                     .expected = table.positional.label,
                                     .found = "none",
                                     .remedy = table.program + " " + table.positional.label}));
    }
  }
  for (const std::string& argument : stray) faults.push_back(stray_argument(table, argument));
  return faults;
}

std::vector<OptionValue> option_values(const OptionTable& table) {
  std::vector<OptionValue> values;
  for (const Option& option : table.options) values.push_back({.name = option.name, .value = option.now()});
  return values;
}

std::string help_text(const OptionTable& table) {
  std::vector<std::string> groups;
  for (const Option& option : table.options) {
    if (std::find(groups.begin(), groups.end(), option.group) == groups.end()) groups.push_back(option.group);
  }
  return cxxopts_of(table).help(groups);
}

}  // namespace dtrain
