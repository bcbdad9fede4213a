// Options as rows of a table: how each is shown, and how its text becomes a field. cxxopts splits the command line and lays out
// the help; every value is read here, so that all faults are found and not only the first.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace dtrain {

struct Option {
  std::string group;
  std::string name;          ///< without dashes
  std::string value;         ///< what stands for its value in the help: "N"; empty: a switch without value
  std::string text;          ///< one sentence, with units
  std::string default_text;  ///< shown in the help; empty: none
  std::string bare_value;    ///< value when the option stands alone; empty: a value must follow
  std::function<std::string(const std::string& value)>
      apply;                         ///< stores; result: what was expected, empty when the value is good
  std::function<std::string()> now;  ///< the field's value, in one spelling; empty: none
};

/// What a command takes beside options.
struct Positional {
  std::string label;  ///< "DIR"; empty: nothing
  std::string* field = nullptr;
  std::vector<std::string>* fields = nullptr;  ///< instead: takes one or more
  bool is_required = true;
};

struct OptionTable {
  std::string program;  ///< "dtrain train"
  std::string purpose;
  std::vector<Option> options;
  Positional positional;
};

// Rows by type of the field. The default shown is the field's value now, unless `default_text` tells it better.
Option text_option(std::string name, std::string value, std::string text, std::string& field, std::string default_text = {});
Option whole_option(std::string name, std::string text, std::int64_t lowest, std::int64_t& field,
                    std::string default_text = {});
Option whole_option(std::string name, std::string text, std::int64_t lowest, int& field, std::string default_text = {});
Option whole_option(std::string name, std::string text, std::int64_t lowest, std::optional<std::int64_t>& field,
                    std::string default_text);
Option seed_option(std::string text, std::uint64_t& field);
Option number_option(std::string name, std::string text, double& field, std::string default_text = {});
Option number_option(std::string name, std::string text, std::optional<double>& field, std::string default_text);
Option positive_option(std::string name, std::string text, double& field, std::string default_text);
Option on_off_option(std::string name, std::string text, bool& field);
Option switch_option(std::string name, std::string text, bool& field);

/// Puts rows under a heading.
void add_group(OptionTable& table, const std::string& group, std::vector<Option> options);

/// Applies arguments (those behind the command's name) to the table's fields. Result: all faults: unknown options with the
/// nearest name, missing values, values that cannot be read, arguments nobody wants.
std::vector<std::string> apply_arguments(const OptionTable& table, const std::vector<std::string>& arguments);

/// Every option of the table with its field's value now, given or not.
struct OptionValue {
  std::string name;  ///< without dashes
  std::string value;
};
std::vector<OptionValue> option_values(const OptionTable& table);

std::string help_text(const OptionTable& table);

}  // namespace dtrain
