// Text that comes from files (names of images and classes, metadata, names of tensors) on its way to a terminal or a log, where
// it must neither move the cursor nor begin a line that looks like one of dtrain's.
#pragma once

#include <string>
#include <string_view>

namespace dtrain {

/// Control characters, those that turn the direction of writing, and bytes that are no UTF-8 as \xNN; all else as it is. Twice
/// is as once.
std::string visible_text(std::string_view text);

/// The same of a message of several lines: a line break that two blanks follow stays.
std::string visible_lines(std::string_view text);

}  // namespace dtrain
