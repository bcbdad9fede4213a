// Runs read from their metrics, whatever state these are in, and drawn: what stands in the drawing and in the table.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "dtrain/error.hpp"
#include "trainer/plot_run.hpp"

namespace dtrain {
namespace {

namespace fs = std::filesystem;

/// A directory of a run whose metrics file has this text.
fs::path run_with(const std::string& name, const std::string& text) {
  const fs::path directory = fs::path(testing::TempDir()) / ("dtrain_plot_" + name);
  fs::remove_all(directory);
  fs::create_directories(directory);
  std::ofstream(directory / "metrics.jsonl") << text;
  return directory;
}

std::string step_text(int step, double epoch, const std::string& loss, const std::string& stage = "") {
  std::ostringstream text;
  text << R"({"step":)" << step << R"(,"epoch":)" << epoch << R"(,"loss":)" << loss
       << R"(,"top1":0.25,"lr":0.1,"samples":8,"step_s":0.5)" << (stage.empty() ? "" : R"(,"stage":")" + stage + "\"") << "}\n";
  return text.str();
}

std::string validation_text_of(int step, double epoch, const std::string& loss, double top1) {
  std::ostringstream text;
  text << R"({"step":)" << step << R"(,"epoch":)" << epoch << R"(,"val_loss":)" << loss << R"(,"val_top1":)" << top1
       << R"(,"val_top5":null,"val_samples":4})"
       << "\n";
  return text.str();
}

std::string text_of(const fs::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::ptrdiff_t count_of(const std::string& text, const std::string& part) {
  std::ptrdiff_t count = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

const std::string kTwoEpochs = step_text(1, 0.5, "2.0") + step_text(2, 1.0, "1.0") + validation_text_of(2, 1.0, "1.5", 0.5) +
                               step_text(3, 1.5, "0.5") + step_text(4, 2.0, "0.5") + validation_text_of(4, 2.0, "1.25", 0.4);

TEST(PlotRun, DrawsAndTabulatesEpochs) {
  const fs::path run = run_with("whole", kTwoEpochs);

  const std::string text = plot_runs({.runs = {run.string()}});

  EXPECT_NE(text.find("4 steps to epoch 2.00; best validation top-1 50.00 % at epoch 1.00"), std::string::npos) << text;
  const std::string svg = text_of(run / "plot.svg");
  EXPECT_TRUE(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
  for (const char* part : {">loss<", ">top-1, %<", ">learning rate<", ">epochs<", ">best 50.00 %<", ">validation<"}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(text_of(run / "plot.csv"),
            "epoch,step,stage,samples,train_loss,train_top1,val_loss,val_top1,val_top5,lr,seconds,best\n"
            "1,2,,16,1.5,0.25,1.5,0.5,,0.1,1,1\n"
            "2,4,,16,0.5,0.25,1.25,0.4,,0.1,1,0\n");
}

TEST(PlotRun, TakesARunThatIsUnderWay) {
  const fs::path run = run_with("under-way", kTwoEpochs + step_text(5, 2.5, "0.25") + R"({"step":6,"ep)");

  const std::string text = plot_runs({.runs = {run.string()}});

  EXPECT_NE(text.find("5 steps to epoch 2.50"), std::string::npos) << text;
  EXPECT_NE(text.find("1 line could not be read and left out"), std::string::npos) << text;
  EXPECT_NE(text_of(run / "plot.csv").find("\n2.5,5,,8,0.25,"), std::string::npos);
}

TEST(PlotRun, LeavesGapsWhereALossIsNoNumber) {
  const fs::path run =
      run_with("diverged", step_text(1, 0.25, "2.0") + step_text(2, 0.5, "1.0") + step_text(3, 0.75, R"("nan")") +
                               step_text(4, 1.0, R"("inf")") + validation_text_of(4, 1.0, R"("nan")", 0.1));

  const std::string text = plot_runs({.runs = {run.string()}});

  EXPECT_NE(text.find("3 losses are not finite: a gap in the curve"), std::string::npos) << text;
  const std::string svg = text_of(run / "plot.svg");
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

TEST(PlotRun, CountsStepsThatComeAgainOnce) {
  const fs::path run = run_with("again", step_text(1, 0.5, "9.0") + step_text(2, 1.0, "9.0") + kTwoEpochs);

  const ReadRun read = read_run(run.string());

  EXPECT_EQ(read.history.steps.size(), 4U);
  EXPECT_EQ(read.history.epochs.rows().front().loss, 1.5);
  ASSERT_EQ(read.remarks.size(), 1U);
  EXPECT_NE(read.remarks.front().find("2 lines of steps that come again"), std::string::npos) << read.remarks.front();
}

TEST(PlotRun, RefusesWhatHasNoSteps) {
  for (const std::string& text :
       {std::string(), std::string("\n"), std::string("hello\n"), validation_text_of(1, 1.0, "1", 0.5)}) {
    const fs::path run = run_with("empty", text);
    EXPECT_THROW(plot_runs({.runs = {run.string()}}), DataError) << text;
    EXPECT_FALSE(fs::exists(run / "plot.svg"));
  }
  EXPECT_THROW(plot_runs({.runs = {(fs::path(testing::TempDir()) / "dtrain_no_such_run").string()}}), DataError);
}

TEST(PlotRun, ReplacesItsOwnDrawingsAlone) {
  const fs::path run = run_with("twice", kTwoEpochs);
  const std::string metrics = (run / "metrics.jsonl").string();
  std::ofstream(run / "notes.csv") << "years of work\n";

  for (int time = 0; time < 2; ++time) EXPECT_NO_THROW(plot_runs({.runs = {run.string()}}));

  EXPECT_THROW(plot_runs({.runs = {run.string()}, .out = metrics}), ConfigError) << "its input";
  EXPECT_THROW(plot_runs({.runs = {run.string()}, .csv = metrics}), ConfigError);
  EXPECT_THROW(plot_runs({.runs = {run.string()}, .out = (run / "notes.svg").string()}), DataError) << "the table beside it";
  EXPECT_THROW(plot_runs({.runs = {run.string()}, .out = (run / "plot.csv").string()}), ConfigError) << "drawing and table";
  EXPECT_EQ(text_of(metrics), kTwoEpochs);
  EXPECT_EQ(text_of(run / "notes.csv"), "years of work\n");
}

TEST(PlotRun, ComparesRunsInOneDrawingAndOneTable) {
  const fs::path a = run_with("a", kTwoEpochs), b = run_with("b <&>", kTwoEpochs);
  const fs::path svg = a / "both.svg";

  plot_runs({.runs = {a.string(), (b / "metrics.jsonl").string()}, .out = svg.string()});

  const std::string text = text_of(svg);
  EXPECT_NE(text.find(">2 runs<"), std::string::npos);
  EXPECT_NE(text.find("b &lt;&amp;>"), std::string::npos) << "names are no markup";
  const std::string table = text_of(a / "both.csv");
  EXPECT_TRUE(table.starts_with("run,epoch,")) << table;
  EXPECT_EQ(count_of(table, "\n"), 5) << table;
}

TEST(PlotRun, NamesStages) {
  const fs::path run = run_with(
      "stages", step_text(1, 1.0, "2.0", "warm") + step_text(2, 2.0, "1.0", "collapse") + step_text(3, 2.0, "1.5", "cycle"));
  plot_runs({.runs = {run.string()}, .csv = (run / "rows.csv").string()});

  const std::string svg = text_of(run / "plot.svg");
  for (const char* name : {">warm<", ">collapse<", ">cycle<"}) EXPECT_NE(svg.find(name), std::string::npos) << name;
  EXPECT_EQ(count_of(text_of(run / "rows.csv"), "\n"), 4);
}

TEST(ExecutedEpochs, GoOnWhereABranchEnds) {
  std::vector<MetricsLine> steps;
  for (const double epoch : {0.5, 1.0, 1.5, 2.0, 1.5, 2.0}) steps.push_back({.epoch = epoch});

  EXPECT_EQ(executed_epochs(steps), (std::vector<double>{0.5, 1.0, 1.5, 2.0, 2.5, 3.0}));
}

TEST(Smoothed, StartsAtTheFirstValueAndAnewAfterAGap) {
  const std::vector<double> averages = smoothed({4.0, 4.0, std::nan(""), 2.0, 2.0});

  EXPECT_DOUBLE_EQ(averages[1], 4.0);
  EXPECT_TRUE(std::isnan(averages[2]));
  EXPECT_DOUBLE_EQ(averages[4], 2.0);
}

}  // namespace
}  // namespace dtrain
