// What a folder is: splits, classes, or neither, decided by names and shape; refusals name the path to give.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "dtrain/image_folder.hpp"
#include "fixtures.hpp"
#include "picture_writers.hpp"

namespace dtrain {
namespace {

/// Folders of a tree below "D" that is given by the paths of its files; a path that ends in '/' is an empty folder.
class Tree {
 public:
  Tree(std::initializer_list<const char*> paths) {
    for (const char* path : paths) paths_.insert(std::string("D/") + path);
  }

  FolderLook look(const std::string& path) const {
    FolderLook look;
    std::set<std::string> folders;
    for (const std::string& file : paths_) {
      if (!file.starts_with(path + '/')) continue;
      const std::string rest = file.substr(path.size() + 1);
      const auto slash = rest.find('/');
      if (slash != std::string::npos) folders.insert(rest.substr(0, slash));
      if (slash == std::string::npos && rest.ends_with(".jpg")) look.has_images = true;
    }
    look.folders.assign(folders.begin(), folders.end());
    return look;
  }

  DataLayout layout(const std::string& root = "D") const {
    return decide_layout(root, [&](const std::string& path, bool) { return look(path); });
  }
  std::string refusal(const std::string& root = "D") const {
    return data_error_of([&] { layout(root); });
  }

 private:
  std::set<std::string> paths_;
};

/// Two classes of images below a folder.
std::vector<std::string> two_classes(const std::string& folder) { return {folder + "/cat/1.jpg", folder + "/dog/1.jpg"}; }

DataLayout layout_of_splits(const std::vector<std::string>& splits) {
  std::set<std::string> paths;
  for (const std::string& split : splits) {
    for (const std::string& path : two_classes(split)) paths.insert(path);
  }
  return decide_layout("D", [&](const std::string& path, bool) {
    FolderLook look;
    if (path == "D") look.folders.assign(splits.begin(), splits.end());
    if (path != "D" && std::ranges::find(splits, path.substr(2)) != splits.end()) look.folders = {"cat", "dog"};
    look.has_images = path.ends_with("/cat") || path.ends_with("/dog");
    return look;
  });
}

void expect_refused(const Tree& tree, const std::vector<std::string>& parts) {
  const std::string text = tree.refusal();
  for (const std::string& part : parts) EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(SplitName, IsKnownInAnyCaseAndAmongOtherWords) {
  const auto role = [](const char* name) { return split_name(name).role; };
  for (const char* name :
       {"train", "Train", "TRAINING", "seg_train", "train2017", "ILSVRC2012_img_train", "TrainImages", "train-set"})
    EXPECT_EQ(role(name), SplitRole::training) << name;
  for (const char* name : {"val", "Valid", "validation", "dev", "eval", "val_images", "ValSet"})
    EXPECT_EQ(role(name), SplitRole::validation) << name;
  for (const char* name : {"test", "Testing", "seg_test", "test_set", "holdout"})
    EXPECT_EQ(role(name), SplitRole::test) << name;
  for (const char* name : {"trainer", "strain", "cat", "valley", "latest", "device", "train_val", "contest", "0", ""})
    EXPECT_EQ(role(name), SplitRole::none) << name;
}

TEST(SplitName, IsExactWhereNothingElseIsSaid) {
  for (const char* name : {"train", "Training", "test_set", "ValSet", "train2017"})
    EXPECT_TRUE(split_name(name).is_exact) << name;
  for (const char* name : {"seg_train", "train_small", "images_val", "cat"}) EXPECT_FALSE(split_name(name).is_exact) << name;
}

TEST(FolderLayout, ClassFoldersAreTheTrainingSet) {
  const DataLayout layout = Tree{"cat/1.jpg", "dog/1.jpg", "README.txt"}.layout();

  EXPECT_FALSE(layout.has_splits);
  EXPECT_EQ(layout.training, "D");
  EXPECT_EQ(layout.validation, "");
}

TEST(FolderLayout, SplitsAreKnownByCommonNames) {
  for (const auto& [training, validation] : std::vector<std::pair<std::string, std::string>>{{"train", "val"},
                                                                                             {"train", "valid"},
                                                                                             {"Training", "Validation"},
                                                                                             {"TRAIN", "Dev"},
                                                                                             {"seg_train", "seg_test"},
                                                                                             {"Training", "Testing"},
                                                                                             {"train", "test"},
                                                                                             {"training_set", "test_set"},
                                                                                             {"train2017", "val2017"}}) {
    std::vector<std::string> splits{training, validation};
    std::ranges::sort(splits);
    const DataLayout layout = layout_of_splits(splits);

    EXPECT_TRUE(layout.has_splits) << training;
    EXPECT_EQ(layout.training, "D/" + training);
    EXPECT_EQ(layout.validation, "D/" + validation);
    EXPECT_EQ(layout.unused, std::vector<std::string>{});
  }
}

TEST(FolderLayout, TestIsForValidationOnlyWhereNothingElseIs) {
  const DataLayout layout = layout_of_splits({"test", "train", "valid"});

  EXPECT_EQ(layout.validation, "D/valid");
  EXPECT_EQ(layout.unused, std::vector<std::string>{"test"});
}

TEST(FolderLayout, TheExactNameIsChosenAmongSeveral) {
  const DataLayout layout = layout_of_splits({"train", "train_small", "val", "val_hard"});

  EXPECT_EQ(layout.training, "D/train");
  EXPECT_EQ(layout.validation, "D/val");
  EXPECT_EQ(layout.unused, (std::vector<std::string>{"train_small", "val_hard"}));
}

TEST(FolderLayout, SaysWhyThereIsNoValidation) {
  EXPECT_NE(layout_of_splits({"train"}).no_validation.find("no folder val, valid, validation or test in D"), std::string::npos);
  EXPECT_NE(layout_of_splits({"other", "train"}).no_validation.find("D/other has class folders of the same names"),
            std::string::npos);
  EXPECT_NE(layout_of_splits({"train", "val", "valid"}).no_validation.find("it could be any of val, valid"),
            std::string::npos);
  EXPECT_NE((Tree{"train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg"}.layout().no_validation.find(
                "D/test holds images, but no class folders")),
            std::string::npos);
  EXPECT_NE(
      (Tree{"train/cat/1.jpg", "train/dog/1.jpg", "val/images/1.jpg"}.layout().no_validation.find("no class of training")),
      std::string::npos);
}

TEST(FolderLayout, AnEmptyValidationFolderIsNone) {
  const DataLayout layout = Tree{"train/cat/1.jpg", "train/dog/1.jpg", "val/", "test/cat/1.jpg", "test/dog/1.jpg"}.layout();

  EXPECT_EQ(layout.validation, "D/test");
}

TEST(FolderLayout, ASplitThatRepeatsItsNameIsEntered) {
  const DataLayout layout = Tree{"seg_train/seg_train/cat/1.jpg", "seg_train/seg_train/dog/1.jpg",
                                 "seg_test/seg_test/cat/1.jpg", "seg_test/seg_test/dog/1.jpg", "seg_pred/seg_pred/1.jpg"}
                                .layout();

  EXPECT_EQ(layout.training, "D/seg_train/seg_train");
  EXPECT_EQ(layout.validation, "D/seg_test/seg_test");
  EXPECT_EQ(layout.unused, std::vector<std::string>{"seg_pred"});
}

TEST(FolderLayout, AValidationOfOneClassIsNotEntered) {
  const Tree tree{"train/cat/1.jpg", "train/dog/1.jpg", "val/cat/a/1.jpg", "val/cat/b/1.jpg"};

  EXPECT_EQ(tree.layout().validation, "D/val");
}

TEST(FolderLayout, AClassMayBeCalledTrain) {
  EXPECT_FALSE((Tree{"bus/1.jpg", "car/1.jpg", "train/1.jpg"}.layout().has_splits));
  EXPECT_FALSE((Tree{"bus/1.jpg", "test/1.jpg", "val/1.jpg", "train/1.jpg"}.layout().has_splits));
  EXPECT_FALSE((Tree{"bus/1.jpg", "car/1.jpg", "train/1.jpg", "train/old/2.jpg", "train/new/2.jpg"}.layout().has_splits));
  EXPECT_FALSE((Tree{"bullet_train/1.jpg", "steam_train/1.jpg"}.layout().has_splits));
  const Tree within{"train/bus/1.jpg", "train/train/1.jpg", "val/bus/1.jpg", "val/train/1.jpg"};
  EXPECT_EQ(within.layout().training, "D/train");
  EXPECT_EQ(within.layout().validation, "D/val");
}

TEST(FolderLayout, AFolderCalledTrainThatMayBeBothIsRefused) {
  expect_refused({"bus/1.jpg", "car/1.jpg", "train/steam/1.jpg", "train/diesel/1.jpg"},
                 {"the folder train that itself holds folders", "bus, car", "give D/train if its folders are the classes"});
  expect_refused({"cat/1.jpg", "dog/1.jpg", "test/cat/1.jpg", "test/dog/1.jpg"},
                 {"the folder test that itself holds folders", "D/train", "D/test"});
}

TEST(FolderLayout, FoldersOfEqualShapeAreSplitsWhateverTheirNames) {
  expect_refused({"A/cat/1.jpg", "A/dog/1.jpg", "B/cat/1.jpg", "B/dog/1.jpg"},
                 {"A and B", "cat, dog", "--data D/A --val-data D/B"});
  expect_refused({"fold1/cat/1.jpg", "fold1/dog/1.jpg", "fold2/cat/1.jpg", "fold2/dog/1.jpg", "fold2/owl/1.jpg"},
                 {"fold1 and fold2", "--data D/fold1"});
  expect_refused({"A/sheet.jpg", "A/cat/1.jpg", "A/dog/1.jpg", "B/cat/1.jpg", "B/dog/1.jpg"}, {"--data D/A --val-data D/B"});
  expect_refused({"cat/1.jpg", "dog/1.jpg", "more/cat/1.jpg", "more/dog/1.jpg"}, {"the folder more", "cat, dog"});
  expect_refused({"north/train/cat/1.jpg", "north/val/cat/1.jpg", "south/train/cat/1.jpg", "south/val/cat/1.jpg"},
                 {"north and south, each with train, val", "give one of them"});
}

TEST(FolderLayout, ClassesMayHoldFoldersThatDiffer) {
  EXPECT_FALSE((Tree{"cat/persian/1.jpg", "cat/siamese/1.jpg", "dog/pug/1.jpg", "dog/poodle/1.jpg"}.layout().has_splits));
  EXPECT_FALSE((Tree{"n1/images/1.jpg", "n2/images/1.jpg", "n1/boxes/1.txt", "n2/boxes/1.txt"}.layout().has_splits));
}

TEST(FolderLayout, OneFolderTooHighIsRefusedWithThePathToGive) {
  expect_refused({"all/cat/1.jpg", "all/dog/1.jpg"}, {"one folder, all", "D/all holds 2 folders (cat, dog)", "give D/all"});
  expect_refused({"data/images/cat/1.jpg", "data/images/dog/1.jpg", "docs/a.txt"}, {"give D/data/images"});
  expect_refused({"wrapper/train/cat/1.jpg", "wrapper/train/dog/1.jpg", "wrapper/val/cat/1.jpg"},
                 {"give D/wrapper", "train, val"});
}

TEST(FolderLayout, ImagesOutsideClassFoldersAreRefused) {
  expect_refused({"train/1.jpg", "test/1.jpg"}, {"images directly in the folders test, train", "D/test"});
  expect_refused({"1.jpg", "2.jpg"}, {"images, but no folder"});
  expect_refused({"a/", "b/notes.txt"}, {"folders without images: a, b"});
  expect_refused({}, {"neither folders nor images"});
}

TEST(FolderLayout, TwoTrainingFoldersAreRefused) {
  expect_refused({"Train/a/1.jpg", "Train/b/1.jpg", "train/a/1.jpg", "train/b/1.jpg"},
                 {"several folders for training: Train, train"});
}

TEST(FolderLayout, ASplitThatHoldsSplitsIsRefused) {
  expect_refused(
      {"train/train/a/1.jpg", "train/train/b/1.jpg", "train/val/a/1.jpg", "train/val/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg"},
      {"give D/train"});
}

TEST(FolderLayout, ManyClassesAreNotAllLookedInto) {
  int looks = 0;
  const DataLayout layout = decide_layout("D", [&](const std::string& path, bool briefly) {
    ++looks;
    FolderLook look{.has_images = path != "D", .folders = {}};
    for (int i = 1000; path == "D" && i < 2000; ++i) look.folders.push_back(std::to_string(i));
    EXPECT_EQ(briefly, path != "D");
    return look;
  });

  EXPECT_FALSE(layout.has_splits);
  EXPECT_LE(looks, 17);
}

TEST(FolderLayout, OnDiskSystemFoldersDoNotCount) {
  const TemporaryDirectory root;
  const auto jpeg = write_jpeg({.width = 8, .height = 6}, gradient_picture(8, 6).rgb);
  for (const char* file :
       {"train/a/1.jpg", "train/b/1.jfif", "val/a/1", "val/b/1.JPG", "@eaDir/train/1.jpg", "__MACOSX/train/a/1.jpg"})
    write_bytes(root.path() / file, jpeg);

  const DataLayout layout = layout_of(root.path().string() + "/");

  EXPECT_EQ(layout.training, (root.path() / "train").string());
  EXPECT_EQ(layout.validation, (root.path() / "val").string());
  EXPECT_TRUE(layout.unused.empty());
}

}  // namespace
}  // namespace dtrain
