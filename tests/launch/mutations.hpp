// Damage for weight files: of their bytes, of the text of their headers, and of what they say, under a right checksum.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dtrain/checkpoint.hpp"
#include "dtrain/random.hpp"

namespace dtrain::test {

/// All choices follow from the seed.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed, RandomPurpose::augmentation, {}) {}

  /// One to four changes of a file's bytes: bits, runs, cuts, repetitions, parts of `other`, and, where it is a safetensors
  /// file, numbers, texts and brackets of its header, whose stated length then follows.
  std::string bytes(std::string file, const std::string& other);

  /// A change of what a file says: its names, types, shapes, values or metadata. It can be written.
  TensorFile contents(TensorFile file);

  std::uint64_t below(std::uint64_t bound) {
    return static_cast<std::uint64_t>(random_.below(static_cast<std::int64_t>(bound)));
  }

 private:
  template <typename Element>
  const Element& one_of(const std::vector<Element>& elements) {
    return elements[below(elements.size())];
  }
  void change_bytes(std::string& file, const std::string& other);
  bool change_header(std::string& file);
  std::string changed_text(std::string text);

  Random random_;
};

}  // namespace dtrain::test
