// Text about a run's images; see data_summary.hpp.
#include "trainer/data_summary.hpp"

#include <algorithm>

#include "dtrain/error.hpp"
#include "dtrain/preprocessing.hpp"
#include "trainer/class_matching.hpp"

namespace dtrain {
namespace {

void append(std::string& list, const std::string& item) { list += (list.empty() ? "" : "; ") + item; }

std::string such_as(const EntryGroup& group) { return ", such as " + group.example; }

std::string split_text(const SplitSummary& split) {
  std::string text = split.folder + ": " + counted(split.images, "image");
  if (split.nested.count > 0) {
    text += ", " + std::to_string(split.nested.count) + " of them in folders inside class folders" + such_as(split.nested);
  }
  return text;
}

std::string other_formats(const LeftOut& left_out) {
  std::string text;
  for (const auto& [format, group] : left_out.images) {
    text += (text.empty() ? "" : ", ") + std::to_string(group.count) + ' ' + format + " (such as " + group.example + ")";
  }
  return text;
}

/// Empty where nothing was left out.
std::string left_out_text(const LeftOut& left_out) {
  std::string text;
  if (!left_out.images.empty()) append(text, "images of other formats: " + other_formats(left_out));
  if (left_out.outside.count > 0)
    append(text, counted(left_out.outside.count, "image") + " in no class folder" + such_as(left_out.outside));
  if (left_out.unreadable.count > 0)
    append(text, counted(left_out.unreadable.count, "file that cannot", "files that cannot") + " be read" +
                     such_as(left_out.unreadable));
  if (left_out.other_files.count > 0)
    append(text, counted(left_out.other_files.count, "other file") + such_as(left_out.other_files));
  if (left_out.system.count > 0)
    append(text,
           counted(left_out.system.count, "hidden or system entry", "hidden or system entries") + such_as(left_out.system));
  return text;
}

/// A line that begins with a title.
std::string titled(const char* title, const std::string& text) {
  constexpr std::size_t kWidth = 14;
  std::string line = title;
  line.resize(std::max(line.size(), kWidth), ' ');
  return line + text;
}

std::string augmentation_text(const TransformOptions& transform) {
  const std::string crop = std::to_string(transform.crop);
  switch (transform.augmentation) {
    case Augmentation::standard:
      return "a random part (8 % to 100 % of the area) resized to " + crop + ", random mirror";
    case Augmentation::light:
      return "resize " + crop + ", moved by up to 1/8, random mirror";
    case Augmentation::none:
      break;
  }
  return "as in evaluation";
}

}  // namespace

std::vector<std::string> data_lines(const DataSummary& data) {
  std::vector<std::string> lines;
  const auto add = [&](const char* title, const std::string& text) {
    if (!text.empty()) lines.push_back(titled(title, text));
  };
  const bool trains = !data.training.folder.empty();
  const char* const evaluated = trains ? "validation" : "evaluation";
  if (trains) add("training", split_text(data.training));
  if (!data.validation.folder.empty()) {
    add(evaluated, split_text(data.validation));
  } else {
    add("no validation:", ' ' + data.no_validation);
  }
  add("classes", std::to_string(data.classes.size()) + ": " + class_list(data.classes));
  std::string unused;
  for (const std::string& folder : data.unused) append(unused, folder);
  add("not used", unused);
  const auto add_left_out = [&](const char* of, const std::string& text) {
    if (!text.empty()) add("left out", std::string("of ") + of + ": " + text);
  };
  add_left_out("training", left_out_text(data.training.left_out));
  add_left_out(evaluated, left_out_text(data.validation.left_out));
  return lines;
}

std::vector<std::string> preparation_lines(const TransformOptions& training, const TransformOptions& evaluation) {
  return {titled("augmentation", augmentation_text(training)),
          "preprocessing: " + to_text(Preprocessing{.resize = evaluation.resize,
                                                    .crop = evaluation.crop,
                                                    .interpolation = evaluation.interpolation,
                                                    .mean = evaluation.mean,
                                                    .stddev = evaluation.stddev})};
}

std::vector<std::string> data_warnings(const DataSummary& data) {
  std::vector<std::string> warnings = data.warnings;
  LeftOut all = data.training.left_out;
  for (const auto& [format, group] : data.validation.left_out.images) {
    EntryGroup& sum = all.images[format];
    if (sum.count == 0) sum.example = group.example;
    sum.count += group.count;
  }
  if (!all.images.empty()) {
    std::int64_t count = 0;
    for (const auto& [format, group] : all.images) count += group.count;
    warnings.push_back(counted(count, "image is", "images are") + " left out, of formats that are not read: " +
                       other_formats(all) + "; convert to JPEG or PNG what is to be used");
  }
  const SplitSummary& main = data.training.folder.empty() ? data.validation : data.training;
  if (main.nested.count > 0 && main.nested.count == main.images) {
    warnings.push_back("no class folder in " + main.folder + " holds images itself, they all lie in folders inside" +
                       such_as(main.nested) + "; if those are the classes, give a --data that holds them directly");
  }
  const EntryGroup& outside =
      data.training.left_out.outside.count > 0 ? data.training.left_out.outside : data.validation.left_out.outside;
  if (outside.count > 0) {
    warnings.push_back(counted(outside.count, "image lies", "images lie") + " in no class folder" +
                       (outside.count == 1 ? " and is left out" : " and are left out") + such_as(outside));
  }
  return warnings;
}

}  // namespace dtrain
