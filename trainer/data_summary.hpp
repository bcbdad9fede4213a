// What a run's images are, in a few lines that a person can check at a glance. Pure text: who logs it is in start.cpp.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dtrain/image_folder.hpp"

namespace dtrain {

/// A folder that serves as training or validation.
struct SplitSummary {
  std::string folder;  ///< empty: there is none
  std::int64_t images = 0;
  LeftOut left_out;
  EntryGroup nested;                       ///< images from folders inside class folders
  std::vector<std::string> empty_classes;  ///< folders without images
};

struct DataSummary {
  SplitSummary training;
  SplitSummary validation;            ///< of `eval`: what is evaluated
  std::string no_validation;          ///< why there is none
  std::vector<std::string> classes;   ///< of training, else of what is evaluated
  std::vector<std::string> unused;    ///< folders next to these that serve as nothing
  std::vector<std::string> warnings;  ///< what may be other than it seems
};

/// Lines, without line breaks at their ends.
std::vector<std::string> data_lines(const DataSummary& data);
/// Lines: how images reach the network in training and in evaluation.
std::vector<std::string> preparation_lines(const TransformOptions& training, const TransformOptions& evaluation);
/// Sentences: the summary's own warnings, and one about images of other formats.
std::vector<std::string> data_warnings(const DataSummary& data);

}  // namespace dtrain
