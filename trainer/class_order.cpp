// Order of classes; see class_order.hpp.
#include "trainer/class_order.hpp"

#include <algorithm>
#include <cctype>
#include <span>
#include <string_view>
#include <utility>

#include "dtrain/error.hpp"
#include "dtrain/parameters.hpp"

namespace dtrain {
namespace {

bool is_digit(char letter) { return std::isdigit(static_cast<unsigned char>(letter)) != 0; }

/// Digits at the end of a name.
std::string_view number_of(std::string_view name) {
  std::size_t begin = name.size();
  while (begin > 0 && is_digit(name[begin - 1])) --begin;
  return name.substr(begin);
}

std::string_view without_zeros(std::string_view digits) {
  const auto first = digits.find_first_not_of('0');
  return first == std::string_view::npos ? digits.substr(digits.size() - 1) : digits.substr(first);
}

/// Of any length.
bool is_smaller_number(std::string_view a, std::string_view b) {
  a = without_zeros(a);
  b = without_zeros(b);
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

class RelabelledDataset final : public Dataset {
 public:
  RelabelledDataset(std::unique_ptr<Dataset> dataset, std::vector<std::string> classes, std::vector<std::int32_t> places)
      : dataset_(std::move(dataset)), classes_(std::move(classes)), places_(std::move(places)) {
    check(places_.size() == dataset_->class_names().size(), "every class has a new label");
    for (const std::int32_t place : places_) {
      check(place >= 0 && place < static_cast<std::int32_t>(classes_.size()), "new labels are those of classes");
    }
  }

  std::int64_t size() const override { return dataset_->size(); }
  const std::vector<std::string>& class_names() const override { return classes_; }
  std::int32_t label(std::int64_t sample) const override { return places_[static_cast<std::size_t>(dataset_->label(sample))]; }
  std::string sample_name(std::int64_t sample) const override { return dataset_->sample_name(sample); }
  std::uint64_t digest() const override {
    std::uint64_t digest = hash_bytes(std::as_bytes(std::span(places_)), dataset_->digest());
    for (const std::string& name : classes_) digest = hash_bytes(std::as_bytes(std::span(name)), digest);
    return digest;
  }
  PictureSize picture_size(std::int64_t sample) const override { return dataset_->picture_size(sample); }
  void decode(std::int64_t sample, const DecodeHint& hint, Picture& picture) const override {
    dataset_->decode(sample, hint, picture);
  }
  void decode_sized(std::int64_t sample, const ChooseHint& choose_hint, Picture& picture) const override {
    dataset_->decode_sized(sample, choose_hint, picture);
  }

 private:
  std::unique_ptr<Dataset> dataset_;
  std::vector<std::string> classes_;
  std::vector<std::int32_t> places_;
};

}  // namespace

std::string number_order_remark(const std::vector<std::string>& classes) {
  if (classes.size() < 2) return {};
  const auto beginning_of = [](std::string_view name) { return name.substr(0, name.size() - number_of(name).size()); };
  const std::string_view beginning = beginning_of(classes.front());
  const bool are_numbered = std::ranges::all_of(
      classes, [&](const std::string& name) { return !number_of(name).empty() && beginning_of(name) == beginning; });
  const auto is_before = [](const std::string& a, const std::string& b) {
    return is_smaller_number(number_of(a), number_of(b));
  };
  if (!are_numbered) return {};
  const auto misplaced = std::ranges::is_sorted_until(classes, is_before);
  if (misplaced == classes.end()) return {};
  const auto place = misplaced - classes.begin();
  return "class folders with numbers are taken in byte order of their names, not by value: " + *(misplaced - 1) + " is class " +
         std::to_string(place - 1) + ", " + *misplaced + " is class " + std::to_string(place) +
         "; names of equal length (00, 01 …) have one order";
}

std::unique_ptr<Dataset> relabelled(std::unique_ptr<Dataset> dataset, std::vector<std::string> classes,
                                    std::vector<std::int32_t> places) {
  return std::make_unique<RelabelledDataset>(std::move(dataset), std::move(classes), std::move(places));
}

}  // namespace dtrain
