// Which folder serves as what; see image_folder.hpp. Decides by what it is shown, so that it is tested without files.
#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>

#include "dtrain/error.hpp"
#include "dtrain/image_folder.hpp"
#include "folder_entries.hpp"

namespace dtrain {
namespace {

using Names = std::vector<std::string>;

constexpr std::size_t kLookedAt = 16;  ///< children of a root whose shape decides: a data set has fewer splits
constexpr std::size_t kFirstFew = 8;   ///< folders of a child in which images are looked for
constexpr int kMaxDepth = 5;           ///< of the folders above the class folders

struct RoleWord {
  std::string_view word;
  SplitRole role;
};
constexpr auto kRoleWords = std::to_array<RoleWord>({{"train", SplitRole::training},
                                                     {"training", SplitRole::training},
                                                     {"trainset", SplitRole::training},
                                                     {"trainval", SplitRole::training},
                                                     {"val", SplitRole::validation},
                                                     {"valid", SplitRole::validation},
                                                     {"validation", SplitRole::validation},
                                                     {"validate", SplitRole::validation},
                                                     {"valset", SplitRole::validation},
                                                     {"validset", SplitRole::validation},
                                                     {"dev", SplitRole::validation},
                                                     {"devel", SplitRole::validation},
                                                     {"eval", SplitRole::validation},
                                                     {"evaluation", SplitRole::validation},
                                                     {"test", SplitRole::test},
                                                     {"testing", SplitRole::test},
                                                     {"testset", SplitRole::test},
                                                     {"holdout", SplitRole::test}});

SplitRole role_of_word(std::string_view word) {
  for (const RoleWord& entry : kRoleWords) {
    if (entry.word == word) return entry.role;
  }
  return SplitRole::none;
}

/// Lower-case words of a name: "seg_Train2017" → seg, train; "TestImages" → test, images.
Names words_of(std::string_view name) {
  Names words(1);
  bool was_lower = false;
  for (const char letter : name) {
    const auto byte = static_cast<unsigned char>(letter);
    const bool begins_word = std::isupper(byte) && was_lower;
    if (begins_word || !std::isalpha(byte)) words.emplace_back();
    if (std::isalpha(byte)) words.back() += static_cast<char>(std::tolower(byte));
    was_lower = std::islower(byte);
  }
  std::erase_if(words, [](const std::string& word) { return word.empty(); });
  return words;
}

Names common_names(const Names& a, const Names& b) {  // both in byte order
  Names common;
  std::ranges::set_intersection(a, b, std::back_inserter(common));
  return common;
}

std::string listed(const Names& names) {
  constexpr std::size_t kShown = 4;
  std::string text;
  for (std::size_t i = 0; i < names.size() && i < kShown; ++i) text += (i > 0 ? ", " : "") + names[i];
  return names.size() > kShown ? text + " …" : text;
}

/// A folder of the root.
struct Child {
  std::string name;
  std::string path;
  SplitName split;
  FolderLook look;
  Names image_folders;  ///< folders in it that hold images somewhere, of the first few
  bool is_class() const { return look.has_images; }
  /// Holds folders of images: class folders, if it is a split.
  bool is_nested() const { return !look.has_images && !image_folders.empty(); }
  bool is_filled() const { return look.has_images || !image_folders.empty(); }
  /// A stray image next to the class folders does not make a split a class.
  bool may_be_split() const { return is_nested() || image_folders.size() >= 2; }
};

std::string names_of(const std::vector<const Child*>& children) {
  Names names;
  for (const Child* child : children) names.push_back(child->name);
  return listed(names);
}

class LayoutDecision {
 public:
  LayoutDecision(const std::string& root, const LookInto& look_into) : root_(root), look_into_(look_into) {
    while (root_.size() > 1 && root_.ends_with('/')) root_.pop_back();
  }

  DataLayout decide() {
    const FolderLook look = look_into_(root_, false);
    if (look.folders.empty()) {
      throw_layout(root_, look.has_images ? "images, but no folder" : "neither folders nor images",
                   "put the images of each class into a folder with the class's name");
    }
    look_at_children(look.folders);
    const auto splits = [&](SplitRole role) {
      return chosen([&](const Child& c) { return c.split.role == role && c.may_be_split(); });
    };
    const auto training = splits(SplitRole::training);
    auto held_out = splits(SplitRole::validation);
    std::ranges::copy(splits(SplitRole::test), std::back_inserter(held_out));
    if (!training.empty() && is_training_split(training, held_out)) return split_layout(best_of(training), held_out);
    if (training.empty() && !held_out.empty() && !is_class_beside_classes(held_out)) return split_layout(nullptr, held_out);
    require_class_folders();
    return {.has_splits = false, .training = root_, .validation = {}, .no_validation = {}, .unused = {}};
  }

 private:
  template <typename Condition>
  std::vector<const Child*> chosen(const Condition& condition) const {
    std::vector<const Child*> found;
    for (const Child& child : children_) {
      if (condition(child)) found.push_back(&child);
    }
    return found;
  }

  void look_at_children(const Names& folders) {
    const bool briefly = folders.size() > kLookedAt;
    std::size_t looked = 0;
    for (const std::string& name : folders) {
      const SplitName split = split_name(name);
      if (split.role == SplitRole::none && ++looked > kLookedAt) {
        has_seen_all_ = false;
        continue;
      }
      Child child{.name = name, .path = root_ + '/' + name, .split = split, .look = {}, .image_folders = {}};
      child.look = look_into_(child.path, briefly && split.role == SplitRole::none);
      child.image_folders = image_folders_of(child.path, child.look.folders, 1);
      children_.push_back(std::move(child));
    }
  }

  bool has_images_below(const std::string& path, int depth) const {
    const FolderLook look = look_into_(path, true);
    return look.has_images || (depth < kMaxDepth && !image_folders_of(path, look.folders, depth + 1, 1).empty());
  }

  /// Up to `most` of the first few folders that hold images.
  Names image_folders_of(const std::string& path, const Names& folders, int depth, std::size_t most = 3) const {
    Names found;
    for (std::size_t i = 0; i < folders.size() && i < kFirstFew && found.size() < most; ++i) {
      if (has_images_below(path + '/' + folders[i], depth)) found.push_back(folders[i]);
    }
    return found;
  }

  /// The folder itself, or the one folder of class folders in it: archives like to repeat their name.
  std::string inner(const std::string& path, const Names& known_classes = {}) const {
    std::string inner = path;
    for (int depth = 0; depth < kMaxDepth; ++depth) {
      const FolderLook look = look_into_(inner, false);
      const Names filled = image_folders_of(inner, look.folders, 1);
      if (look.has_images || filled.size() != 1 || std::ranges::binary_search(known_classes, filled.front())) break;
      const std::string next = inner + '/' + filled.front();
      if (look_into_(next, true).has_images) break;  // a class
      inner = next;
    }
    return inner;
  }

  Names classes_of(const Child& split) const { return look_into_(inner(split.path), false).folders; }

  /// Names that two children share and under which both have images: fewer than two are no classes.
  Names shared_classes(const Child& a, const Child& b) const {
    Names shared;
    for (const std::string& name : common_names(a.look.folders, b.look.folders)) {
      if (has_images_below(a.path + '/' + name, 2) && has_images_below(b.path + '/' + name, 2)) shared.push_back(name);
      if (shared.size() == kFirstFew) break;
    }
    return shared;
  }

  /// Others than splits that have images.
  std::vector<const Child*> unnamed() const {
    return chosen([](const Child& c) { return c.split.role == SplitRole::none && c.is_filled(); });
  }

  /// A class may be called "train". It is one when it has images itself, next to other folders of images.
  bool is_training_split(const std::vector<const Child*>& training, const std::vector<const Child*>& held_out) const {
    const Child& first = *training.front();
    const Names classes = classes_of(first);
    const auto shares = [&](const Child* other) { return !common_names(classes, classes_of(*other)).empty(); };
    if (std::ranges::any_of(held_out, shares)) return true;
    std::vector<const Child*> strangers = unnamed();
    std::erase_if(strangers, shares);
    if (strangers.empty()) return true;
    if (first.is_class()) return false;
    throw_layout(root_,
                 "the folder " + first.name + " that itself holds folders, next to folders of other images (" +
                     names_of(strangers) + ")",
                 "give " + first.path + " if its folders are the classes; if " + first.name +
                     " is a class like the others, put its images directly into it");
  }

  bool is_class_beside_classes(const std::vector<const Child*>& held_out) const {
    const std::vector<const Child*> others = unnamed();
    if (others.empty()) return false;
    const Child& first = *held_out.front();
    if (first.is_class() && common_names(first.look.folders, names()).empty()) return true;
    throw_layout(
        root_,
        "the folder " + first.name + " that itself holds folders, next to folders of other images (" + names_of(others) + ")",
        "move the folders of training into " + root_ + "/train; or give " + first.path + " to use that one alone");
  }

  Names names() const {
    Names names;
    for (const Child& child : children_) names.push_back(child.name);
    std::ranges::sort(names);
    return names;
  }

  /// The one that is named most exactly; null where several are.
  static const Child* only_best(const std::vector<const Child*>& candidates) {
    std::vector<const Child*> exact;
    std::ranges::copy_if(candidates, std::back_inserter(exact), [](const Child* c) { return c->split.is_exact; });
    const auto& best = exact.empty() ? candidates : exact;
    return best.size() == 1 ? best.front() : nullptr;
  }

  const Child* best_of(const std::vector<const Child*>& training) const {
    const Child* const best = only_best(training);
    if (best != nullptr) return best;
    throw_layout(root_, "several folders for training: " + names_of(training),
                 "give one of them, such as " + training[0]->path);
  }

  DataLayout split_layout(const Child* training, const std::vector<const Child*>& held_out) const {
    DataLayout layout{.has_splits = true, .training = {}, .validation = {}, .no_validation = {}, .unused = {}};
    Names classes;
    if (training != nullptr) {
      layout.training = inner(training->path);
      classes = look_into_(layout.training, false).folders;
      require_classes(layout.training);
    }
    const Child* const validation = choose_validation(held_out, classes, layout);
    if (validation != nullptr) {
      layout.validation = inner(validation->path, classes);
      require_classes(layout.validation);
    }
    for (const Child& child : children_) {
      if (&child != training && &child != validation) layout.unused.push_back(child.name);
    }
    return layout;
  }

  /// Says in the layout why there is none.
  const Child* choose_validation(const std::vector<const Child*>& held_out, const Names& classes, DataLayout& layout) const {
    auto named = chosen([](const Child& c) { return c.split.role == SplitRole::validation && c.is_filled(); });
    if (named.empty()) named = chosen([](const Child& c) { return c.split.role == SplitRole::test && c.is_filled(); });
    if (named.empty()) {
      layout.no_validation = "there is no folder val, valid, validation or test in " + root_;
      const auto alike = chosen([&](const Child& c) {
        return c.split.role == SplitRole::none && c.is_nested() && !common_names(c.look.folders, classes).empty();
      });
      if (!alike.empty()) layout.no_validation += "; " + alike.front()->path + " has class folders of the same names";
      return nullptr;
    }
    const Child* const best = only_best(named);
    if (best == nullptr) {
      layout.no_validation = "it could be any of " + names_of(named) + ": --val-data DIR chooses";
    } else if (std::ranges::find(held_out, best) == held_out.end()) {
      layout.no_validation = best->path + " holds images, but no class folders";
    } else if (is_unlabelled(*best, classes)) {
      layout.no_validation = best->path + " holds one folder of images, which is no class of training";
    } else {
      return best;
    }
    return nullptr;
  }

  /// A folder like val/images/*.jpg.
  bool is_unlabelled(const Child& split, const Names& classes) const {
    const Names folders = look_into_(inner(split.path, classes), false).folders;
    return classes.size() > 1 && folders.size() == 1 && common_names(folders, classes).empty();
  }

  /// A split has to hold classes, not splits; of one class, images in folders say nothing. Errors: DataError.
  void require_classes(const std::string& path) const {
    if (image_folders_of(path, look_into_(path, false).folders, 1).size() == 1) return;
    if (LayoutDecision(path, look_into_).decide().has_splits)
      throw_layout(root_, path + ", which itself holds folders for training and validation", "give " + path);
  }

  // ---- class folders ----

  void require_class_folders() const {
    const auto filled = chosen([](const Child& c) { return c.is_filled(); });
    if (filled.empty() && has_seen_all_) throw_layout(root_, "folders without images: " + listed(names()), "check the path");
    if (has_seen_all_) require_deepest(filled);
    require_no_flat_splits(filled);
    require_no_equal_shapes();
    require_no_part_of_siblings(filled);
  }

  /// One folder that holds folders is no class.
  void require_deepest(const std::vector<const Child*>& filled) const {
    if (filled.size() != 1 || !filled.front()->is_nested()) return;
    std::string path = filled.front()->path;
    Names folders = filled.front()->image_folders;
    for (int depth = 0; depth < kMaxDepth && folders.size() == 1; ++depth) {
      const std::string next = path + '/' + folders.front();
      const FolderLook look = look_into_(next, false);
      if (look.has_images) break;
      path = next;
      folders = image_folders_of(next, look.folders, 1);
    }
    const std::size_t count = look_into_(path, false).folders.size();
    throw_layout(root_,
                 "one folder, " + filled.front()->name + ", where " + path + " holds " + std::to_string(count) + " folder" +
                     (count == 1 ? "" : "s") + " (" + listed(look_into_(path, false).folders) + ")",
                 "give " + path);
  }

  /// train/*.jpg and test/*.jpg.
  void require_no_flat_splits(const std::vector<const Child*>& filled) const {
    const auto has = [&](SplitRole role) {
      return std::ranges::any_of(filled, [&](const Child* c) { return c->split.role == role; });
    };
    const bool all_named = std::ranges::none_of(filled, [](const Child* c) { return c->split.role == SplitRole::none; });
    if (!all_named || !has(SplitRole::training) || filled.size() < 2) return;
    if (!has(SplitRole::validation) && !has(SplitRole::test)) return;
    throw_layout(
        root_, "images directly in the folders " + names_of(filled) + ", which are no classes",
        "put the images of each class into a folder with the class's name, below " + filled.front()->path + " and the others");
  }

  /// Folders whose folders have the same names are splits, whatever they are called, or classes divided alike.
  void require_no_equal_shapes() const {
    for (std::size_t i = 0; i < children_.size(); ++i) {
      for (std::size_t j = i + 1; j < children_.size(); ++j) {
        const Child &a = children_[i], &b = children_[j];
        if (!a.may_be_split() || !b.may_be_split() || (a.is_class() && b.is_class())) continue;
        const Names shared = shared_classes(a, b);
        if (shared.size() < 2) continue;
        const bool are_splits =
            std::ranges::all_of(shared, [](const std::string& name) { return split_name(name).role != SplitRole::none; });
        const std::string both = a.name + " and " + b.name;
        if (are_splits) {
          throw_layout(root_, "the folders " + both + ", each with " + listed(shared),
                       "give one of them, such as " + a.path + "; if " + both + " are classes, arrange them as " + root_ + "/" +
                           shared.front() + "/" + a.name + " and so on");
        }
        throw_layout(root_, "the folders " + both + ", which hold folders of the same names (" + listed(shared) + ")",
                     "--data " + a.path + " --val-data " + b.path + " if one is for training and one for validation; if " +
                         both + " are classes, put their images directly into them");
      }
    }
  }

  /// cats/*.jpg, dogs/*.jpg and more/cats/*.jpg, more/dogs/*.jpg.
  void require_no_part_of_siblings(const std::vector<const Child*>& filled) const {
    for (const Child* child : filled) {
      if (!child->may_be_split()) continue;
      const Names shared = common_names(child->look.folders, names());
      if (shared.size() < 2) continue;
      throw_layout(root_,
                   "the folder " + child->name + ", which holds folders named as those next to it (" + listed(shared) + ")",
                   "move it out of " + root_ + ", and name it with --val-data if it is for validation");
    }
  }

  std::string root_;
  const LookInto& look_into_;
  std::vector<Child> children_;
  bool has_seen_all_ = true;
};

}  // namespace

SplitName split_name(std::string_view folder) {
  const Names words = words_of(folder);
  SplitName name;
  for (const std::string& word : words) {
    const SplitRole role = role_of_word(word);
    if (role == SplitRole::none || role == name.role) continue;
    if (name.role != SplitRole::none) return {};  // "train_val" and the like say nothing
    name.role = role;
  }
  const auto says_nothing = [](const std::string& word) { return word == "set" || word == "data" || word == "dataset"; };
  const auto telling = std::ranges::count_if(words, [&](const std::string& word) { return !says_nothing(word); });
  name.is_exact = name.role != SplitRole::none && telling == 1;
  return name;
}

DataLayout decide_layout(const std::string& root, const LookInto& look_into) {
  return LayoutDecision(root, look_into).decide();
}

DataLayout layout_of(const std::string& root) {
  require_folder(root);
  return decide_layout(root, look_into_folder);
}

}  // namespace dtrain
