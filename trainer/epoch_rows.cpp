// Adding up epochs; see epoch_rows.hpp.
#include "trainer/epoch_rows.hpp"

#include <array>
#include <cmath>
#include <cstdio>
#include <utility>

namespace dtrain {
namespace {

template <typename... Values>
std::string row_text(const char* format, Values... values) {
  std::array<char, 160> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

/// What is not finite is no number in JSON.
nlohmann::ordered_json json_number(double value) {
  return std::isfinite(value) ? nlohmann::ordered_json(value) : nlohmann::ordered_json();
}

std::string csv_number(double value) { return row_text("%.9g", value); }

/// A stage's name is the user's: it may hold commas and quotes.
std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char letter : text) quoted += letter == '"' ? std::string("\"\"") : std::string(1, letter);
  return quoted + "\"";
}

}  // namespace

bool is_whole_epoch(double epoch) { return epoch > 0.5 && std::abs(epoch - std::round(epoch)) < 1e-9; }

void EpochRows::add(const MetricsLine& line) {
  seconds_ += line.seconds;
  last_step_ = line.step;
  if (line.is_validation) {
    last_validation_ = line;
    const bool is_best = line.top1 > (best_ ? best_->top1 : -1.0);
    if (is_best) best_ = {.top1 = line.top1, .epoch = line.epoch, .step = line.step};
    EpochRow* const row = open_ ? &*open_ : rows_.empty() ? nullptr : &rows_.back();
    if (row == nullptr || row->step != line.step) return;
    row->validation = line;
    row->validation->left_out_images.clear();  // a row counts them
    row->is_best = is_best;
    row->seconds += line.seconds;
    return;
  }
  if (!first_of_steps_) first_of_steps_ = line;
  last_of_steps_ = line;
  const bool is_next = open_ && (is_whole_epoch(open_->epoch) || line.stage != open_->stage || line.epoch < open_->epoch);
  if (is_next) end_row();
  if (!open_) open_ = EpochRow{.stage = line.stage, .is_partial = std::exchange(begins_partial_, false)};
  open_->epoch = line.epoch;
  open_->step = line.step;
  open_->samples += line.samples;
  open_->learning_rate = line.learning_rate;
  open_->seconds += line.seconds;
  // A validation in the middle of a row is not that of its end.
  open_->validation.reset();
  open_->is_best = false;
  loss_sum_ += line.loss * static_cast<double>(line.samples);
  top1_sum_ += line.top1 * static_cast<double>(line.samples);
}

void EpochRows::mark_earlier_best(double top1) {
  if (top1 > (best_ ? best_->top1 : -1.0)) best_ = {.top1 = top1};
}

const EpochRow* EpochRows::end_row() {
  if (!open_) return nullptr;
  open_->loss = loss_sum_ / static_cast<double>(open_->samples);
  open_->top1 = top1_sum_ / static_cast<double>(open_->samples);
  loss_sum_ = top1_sum_ = 0.0;
  rows_.push_back(std::move(*open_));
  open_.reset();
  return &rows_.back();
}

std::string validation_text(const MetricsLine& validation) {
  return row_text("validation top-1 %.2f %%", 100.0 * validation.top1) +
         (validation.top5 ? row_text(", top-5 %.2f %%", 100.0 * *validation.top5) : "") +
         row_text(", loss %.4f", validation.loss) +
         (validation.left_out > 0 ? row_text(", %lld left out as unreadable", static_cast<long long>(validation.left_out))
                                  : "");
}

std::string epoch_text(const EpochRow& row) {
  std::string text = row_text("epoch %.2f", row.epoch) + (row.stage.empty() ? "" : " (" + row.stage + ")") +
                     row_text(": training loss %.4f, top-1 %.2f %%", row.loss, 100.0 * row.top1);
  if (row.is_partial) text += row_text(" (of its last %lld samples)", static_cast<long long>(row.samples));
  if (row.validation) text += "; " + validation_text(*row.validation);
  return text + row_text("; %.1f s", row.seconds) + (row.is_best ? " (best so far)" : "");
}

nlohmann::ordered_json best_json(const std::optional<BestEvaluation>& best, const std::string& file) {
  using Json = nlohmann::ordered_json;
  if (!best) return {};
  const bool is_known = best->step > 0;
  return {{"top1", best->top1},
          {"epoch", is_known ? Json(best->epoch) : Json()},
          {"step", is_known ? Json(best->step) : Json()},
          {"file", file.empty() ? Json() : Json(file)}};
}

nlohmann::ordered_json epochs_json(std::span<const EpochRow> rows) {
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  for (const EpochRow& row : rows) {
    nlohmann::ordered_json json{{"epoch", row.epoch},
                                {"step", row.step},
                                {"samples", row.samples},
                                {"loss", json_number(row.loss)},
                                {"top1", json_number(row.top1)},
                                {"lr", row.learning_rate},
                                {"seconds", row.seconds},
                                {"val_loss", nullptr},
                                {"val_top1", nullptr},
                                {"val_top5", nullptr},
                                {"best", row.is_best}};
    if (row.validation) {
      json["val_loss"] = json_number(row.validation->loss);
      json["val_top1"] = json_number(row.validation->top1);
      if (row.validation->top5) json["val_top5"] = json_number(*row.validation->top5);
    }
    if (!row.stage.empty()) json["stage"] = row.stage;
    if (row.is_partial) json["partial"] = true;
    all.push_back(std::move(json));
  }
  return all;
}

std::string epochs_csv(std::span<const EpochRow> rows) {
  std::string text = "epoch,step,stage,samples,train_loss,train_top1,val_loss,val_top1,val_top5,lr,seconds,best\n";
  for (const EpochRow& row : rows) {
    text += csv_number(row.epoch) + "," + std::to_string(row.step) + "," + csv_text(row.stage) + "," +
            std::to_string(row.samples) + "," + csv_number(row.loss) + "," + csv_number(row.top1) + ",";
    text += row.validation ? csv_number(row.validation->loss) + "," + csv_number(row.validation->top1) + "," : ",,";
    if (row.validation && row.validation->top5) text += csv_number(*row.validation->top5);
    text += "," + csv_number(row.learning_rate) + "," + csv_number(row.seconds) + "," + (row.is_best ? "1" : "0") + "\n";
  }
  return text;
}

}  // namespace dtrain
