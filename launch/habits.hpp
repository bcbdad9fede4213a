// What people type out of habit, from other programs that train networks, and what it is called here. Nothing of it is taken as
// an option: a name that means something else elsewhere is answered, not guessed.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace dtrain {

/// What to write instead of an option that a command does not have, for its message: "--global-batch N, which counts …".
/// written: with its dashes, without a value. options: names of the command's options, without dashes.
/// Empty: nobody is known to write it.
std::string habitual_option(std::string_view written, const std::vector<std::string>& options);

/// The line to write instead of a word in the place of a command; empty: none is known. is_directory: the word is the name of
/// one.
std::string habitual_command(const std::string& word, bool is_directory);

}  // namespace dtrain
