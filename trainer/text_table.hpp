// Tables for terminals: columns as wide as their widest cell, two blanks apart.
#pragma once

#include <string>
#include <vector>

namespace dtrain {

/// rows: all of equal length, the first one the headings. A line each, indented by two blanks, no blanks at the end.
std::string table_text(const std::vector<std::vector<std::string>>& rows);

}  // namespace dtrain
