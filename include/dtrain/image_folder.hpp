// Class folders of image files as a data set, with an account of what below them was left out; and which folders of a directory
// serve as training, validation and classes. Every command asks here what a folder is.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "dtrain/data.hpp"

namespace dtrain {

/// Entries of one kind: how many, and one of them (the first in byte order, so that all ranks name the same).
struct EntryGroup {
  std::int64_t count = 0;
  std::string example;  ///< path below the root of the data set

  void add(const std::string& path);
};

/// What a folder holds next to the images of its data set.
struct LeftOut {
  std::map<std::string, EntryGroup> images;  ///< of formats that are not read, by format: "WebP"
  EntryGroup outside;                        ///< images that lie in no class folder
  EntryGroup unreadable;                     ///< files without a usual ending that could not be opened
  EntryGroup other_files;                    ///< no images: lists, labels, documents
  EntryGroup system;  ///< hidden entries, and those of storages, archives and desktops: @eaDir, Thumbs.db
};

struct ImageFolder {
  std::unique_ptr<Dataset> images;
  LeftOut left_out;
  EntryGroup nested;                       ///< images that were taken from folders inside class folders
  std::vector<std::string> empty_classes;  ///< where these are allowed
};

enum class EmptyClasses {
  refused,  ///< a class to be learned has images
  kept,     ///< as classes without images: an evaluation may be of some classes
};

/// As open_image_folder (data.hpp). An image is JPEG or PNG by its content. Cost: names that end in .jpg, .jpeg or .png are
/// listed without being opened; files with the usual endings of texts, tables, videos and archives are not opened either; the
/// first 192 bytes of all others are read.
ImageFolder read_image_folder(const std::string& root, EmptyClasses empty_classes = EmptyClasses::refused);

/// A 16-bit PNG file that uses a small part of its range, so that it is almost black where its high bytes are taken.
struct NarrowRange {
  std::string file;
  int used_bits = 0;  ///< bits that its largest value takes
};
/// Looks at up to `most` files, spread evenly over the data set; decodes those that are 16-bit PNG without an sBIT chunk. A set
/// whose samples are no files has none.
std::optional<NarrowRange> find_narrow_range(const Dataset& dataset, std::int64_t most = 64);

/// What one look into a folder shows.
struct FolderLook {
  bool has_images = false;           ///< some image file, of any format, lies directly in it
  std::vector<std::string> folders;  ///< in byte order, without hidden ones and those of storages
};
/// Looks into a folder. briefly: may stop at the first image, with the folders seen so far.
using LookInto = std::function<FolderLook(const std::string& path, bool briefly)>;

enum class SplitRole { none, training, validation, test };
struct SplitName {
  SplitRole role = SplitRole::none;
  bool is_exact = false;  ///< the whole name says it ("Train", "test_set"), not one of its words ("train_images")
};
/// What a folder's name says of its part in a data set, in any case.
SplitName split_name(std::string_view folder);

/// Which folders serve as what.
struct DataLayout {
  bool has_splits = false;          ///< false: the directory itself holds the class folders
  std::string training;             ///< path of the folder that holds the class folders; empty: none
  std::string validation;           ///< likewise
  std::string no_validation;        ///< why there is none
  std::vector<std::string> unused;  ///< names of folders next to these that serve as nothing
};

/// Decides by names and by shape. Folders named as splits that hold class folders are splits; a folder of images is a class,
/// whatever its name, next to other such folders. A split that holds one folder of class folders stands for that one
/// (seg_train/seg_train).
/// Cost: looks into the folders of `root`, of which the first 16 and those named as splits count, and briefly into a few
/// folders of each. Errors: DataError: no class folders; one folder too high or too low; folders of equal shape that no name
/// tells apart. It names the path or paths to give.
DataLayout decide_layout(const std::string& root, const LookInto& look_into);
/// The same of a directory on disk. Errors: DataError also: missing, unreadable, no directory.
DataLayout layout_of(const std::string& root);

}  // namespace dtrain
