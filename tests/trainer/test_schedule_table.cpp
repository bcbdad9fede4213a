// What --dry-run says and draws of every recipe, letter by letter.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <sstream>

#include "schedules/presets.hpp"
#include "trainer/schedule_picture.hpp"
#include "trainer/schedule_table.hpp"

namespace dtrain {
namespace {

/// As on ImageNet.
RunPlan plan_of_preset(const std::string& preset, std::int64_t global_batch = 0, double epochs = 0.0) {
  TrainConfig config;
  config.model = "resnet50";
  config.preset = preset;
  config.global_batch = global_batch;
  config.epochs = epochs;
  if (preset == "finetune") config.lr = 0.01;
  return plan_run(config, {.samples = 1281167, .classes = 1000}, 512);
}

/// tests/trainer/golden/NAME.txt. To be looked at and replaced when the table is meant to change.
std::string golden(const std::string& name) {
  std::ifstream file(std::string(GOLDEN_TABLES) + "/" + name + ".txt");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ScheduleTable, OfEveryPresetIsTheOneThatWasLookedAt) {
  for (const std::string& preset : preset_names()) {
    EXPECT_EQ(schedule_table(plan_of_preset(preset), 10000.0), golden(preset)) << preset;
  }
  EXPECT_EQ(schedule_table(plan_of_preset("surfsara-cycles", 1024, 40.0), 1000.0), golden("surfsara-cycles-1024-40"));
}

TEST(ScheduleTable, CountsSmallPicturesByTheirPixels) {
  TrainConfig config;
  config.model = "resnet50";
  config.global_batch = 100;
  config.stages = "small: epochs=1 lr=0.1 crop=112; large: epochs=1 lr=0.1";
  const RunPlan plan = plan_run(config, {.samples = 1000, .classes = 10}, 1);

  const std::string table = schedule_table(plan, 1.0);

  EXPECT_NE(table.find("112 px, standard  4 min"), std::string::npos) << table;
  EXPECT_NE(table.find("224 px, standard  17 min"), std::string::npos) << table;
}

TEST(SchedulePicture, OfEveryPresetNamesItsStagesAxesAndUnits) {
  for (const std::string& preset : preset_names()) {
    const RunPlan plan = plan_of_preset(preset);
    const std::string svg = schedule_picture(plan);

    EXPECT_TRUE(svg.starts_with("<svg") && svg.ends_with("</svg>\n")) << preset;
    EXPECT_EQ(std::ranges::count(svg, '<'), std::ranges::count(svg, '>')) << preset;
    for (const char* words : {">learning rate<", ">weight decay / 1e-4<", "epochs"}) {
      EXPECT_NE(svg.find(words), std::string::npos) << preset << " " << words;
    }
    for (const PlannedStage& stage : plan.stages) {
      EXPECT_NE(svg.find(">" + stage.stage.name + "</text>"), std::string::npos) << preset << " " << stage.stage.name;
    }
    EXPECT_EQ(svg.find("nan"), std::string::npos) << preset;
  }
}

}  // namespace
}  // namespace dtrain
