// Pieces of the texts in which schedules are written ("poly:power=2,over=30"): splitting, quoting, numbers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// Parts between separators; one part where there is none.
std::vector<std::string_view> split_text(std::string_view text, char separator);
/// Without white space at both ends.
std::string_view trimmed(std::string_view text);
/// In double quotes.
std::string quoted(std::string_view text);
/// The shortest text that reads back as the same number.
std::string shortest_text(double value);

/// What a number must be.
enum class NumberBound { any, positive, not_negative };
/// Reads a finite number. Result: what is wrong with it ("power=two is not a number"), empty where it is good and stored.
std::string read_number(std::string_view key, std::string_view text, NumberBound bound, double& target);

}  // namespace dtrain
