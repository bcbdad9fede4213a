// Lines of progress that fit; see progress.hpp.
#include "trainer/progress.hpp"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "trainer/clock.hpp"
#include "trainer/launcher_stream.hpp"

namespace dtrain {
namespace {

constexpr int kUsualColumns = 80;

template <typename... Values>
std::string field_text(const char* format, Values... values) {
  std::array<char, 96> text{};
  std::snprintf(text.data(), text.size(), format, values...);
  return text.data();
}

/// One code point at the beginning of a text: how many bytes it has, and how many columns it takes.
struct Letter {
  std::size_t bytes;
  int columns;
};

Letter first_letter(std::string_view text) {
  const auto lead = static_cast<unsigned char>(text.front());
  const std::size_t length = lead < 0x80 ? 1 : lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : lead >= 0xC0 ? 2 : 1;
  const std::size_t bytes = std::min(length, text.size());
  char32_t code = length == 1 ? lead : lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < bytes; ++i) code = (code << 6) | (static_cast<unsigned char>(text[i]) & 0x3FU);
  const auto is_within = [code](char32_t first, char32_t last) { return code >= first && code <= last; };
  if (is_within(0x0300, 0x036F) || is_within(0x200B, 0x200F) || is_within(0xFE00, 0xFE0F)) return {bytes, 0};
  const bool is_wide = is_within(0x1100, 0x115F) || is_within(0x2E80, 0xA4CF) || is_within(0xAC00, 0xD7A3) ||
                       is_within(0xF900, 0xFAFF) || is_within(0xFE30, 0xFE6F) || is_within(0xFF00, 0xFF60) ||
                       is_within(0xFFE0, 0xFFE6) || is_within(0x1F300, 0x1FAFF) || is_within(0x20000, 0x3FFFD);
  return {bytes, is_wide ? 2 : 1};
}

std::string cut_to(const std::string& text, int columns) {
  std::string_view rest = text;
  std::size_t bytes = 0;
  while (!rest.empty()) {
    const Letter letter = first_letter(rest);
    if (letter.columns > columns) break;
    columns -= letter.columns;
    bytes += letter.bytes;
    rest.remove_prefix(letter.bytes);
  }
  return text.substr(0, bytes);
}

/// Of a terminal; −1: the descriptor is none; 0: it does not say.
int columns_of_terminal(int descriptor) {
  if (isatty(descriptor) == 0) return -1;
  winsize size{};
  return ioctl(descriptor, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

std::string clock_text(double total_s) {
  const auto whole = static_cast<long>(std::max(0.0, total_s) + 0.5);
  if (whole >= 3600) return field_text("%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
  return field_text("%ld:%02ld", whole / 60, whole % 60);
}

int columns_of(const std::string& text) {
  int columns = 0;
  for (std::string_view rest = text; !rest.empty();) {
    const Letter letter = first_letter(rest);
    columns += letter.columns;
    rest.remove_prefix(letter.bytes);
  }
  return columns;
}

std::string progress_line(const ProgressFacts& facts, int columns) {
  struct Field {
    int goes;  ///< in this order, where there is no room
    std::string text;
  };
  std::vector<Field> fields{
      {3, facts.stage},
      {8, field_text("epoch %.2f/%.4g", facts.epoch, facts.epochs)},
      {2, field_text("step %lld/%lld", static_cast<long long>(facts.step), static_cast<long long>(facts.steps))},
      {7, field_text("loss %.4f", facts.loss)},
      {5, field_text("top-1 %5.1f %%", 100.0 * facts.top1)},
      {1, field_text("lr %.4g", facts.learning_rate)},
      {4, field_text("%.1f images/s", facts.images_per_s)},
      {6, "left " + clock_text(facts.left_s)},
  };
  std::erase_if(fields, [](const Field& field) { return field.text.empty(); });
  const auto joined = [&] {
    std::string line;
    for (const Field& field : fields) line += (line.empty() ? "" : "  ") + field.text;
    return line;
  };
  if (columns == 0) return joined();
  while (fields.size() > 1 && columns_of(joined()) > columns) fields.erase(std::ranges::min_element(fields, {}, &Field::goes));
  return cut_to(joined(), columns);
}

int terminal_columns() {
  int columns = columns_of_terminal(STDOUT_FILENO);
  if (columns >= 0 && std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr) {
    const std::string launcher = "/proc/" + std::to_string(getppid()) + "/fd/1";
    const int descriptor = open(launcher.c_str(), O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);  // a pipe may have no reader
    columns = descriptor < 0 ? -1 : columns_of_terminal(descriptor);
    if (descriptor >= 0) close(descriptor);
  }
  if (columns < 0) return 0;
  if (const char* const text = std::getenv("COLUMNS"); columns == 0 && text != nullptr) {
    std::from_chars(text, text + std::strlen(text), columns);
  }
  return columns > 0 ? columns : kUsualColumns;
}

Progress::Progress(std::int64_t total_steps, std::int64_t first_step, std::int64_t log_every, double total_epochs)
    : total_steps_(total_steps),
      first_step_(first_step),
      log_every_(log_every),
      total_epochs_(total_epochs),
      is_terminal_(terminal_columns() > 0) {}

bool Progress::is_log_step(const StepReport& report) const {
  return report.step % log_every_ == 0 || report.step == total_steps_ || report.step == first_step_ + 1;
}

void Progress::show(const StepReport& report) {
  smoothed_step_s_ = smoothed_step_s_ == 0.0 ? report.step_s : 0.9 * smoothed_step_s_ + 0.1 * report.step_s;
  const bool is_due_now = is_terminal_ ? seconds() - last_shown_s_ > 0.2 || report.step == total_steps_ : is_log_step(report);
  if (!is_due_now || !launcher_stream_has_reader(STDOUT_FILENO)) return;
  last_shown_s_ = seconds();
  const ProgressFacts facts{.stage = stage_,
                            .epoch = report.epoch,
                            .epochs = total_epochs_,
                            .step = report.step,
                            .steps = total_steps_,
                            .loss = report.loss,
                            .top1 = report.top1,
                            .learning_rate = report.learning_rate,
                            .images_per_s = static_cast<double>(report.samples) / smoothed_step_s_,
                            .left_s = smoothed_step_s_ * static_cast<double>(total_steps_ - report.step)};
  if (is_terminal_) {
    // Asked each time, for windows are resized. In the last column some terminals wrap already.
    const int columns = std::max(terminal_columns() - 1, 1);
    std::printf("\r%s\033[K", progress_line(facts, columns).c_str());
    is_line_open_ = true;
  } else {
    std::printf("%s\n", progress_line(facts, 0).c_str());
  }
  std::fflush(stdout);
}

void Progress::finish_line() {
  if (is_line_open_) std::printf("\n");
  std::fflush(stdout);
  is_line_open_ = false;
}

}  // namespace dtrain
