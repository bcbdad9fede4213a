// Progress of a run on standard output, for people: how far, how good, how fast.
#pragma once

#include <cstdint>
#include <string>

#include "trainer/trainer.hpp"

namespace dtrain {

/// What a line of progress tells.
struct ProgressFacts {
  std::string stage;  ///< empty: not shown
  double epoch = 0.0, epochs = 0.0;
  std::int64_t step = 0, steps = 0;
  double loss = 0.0;
  double top1 = 0.0;  ///< share
  double learning_rate = 0.0;
  double images_per_s = 0.0;
  double left_s = 0.0;
};

/// The line, at most `columns` wide; 0: as wide as it is. Where it does not fit, fields are left out: the rate first, then
/// step, stage, speed and top-1; epoch, loss and the time left are the last to go. Pure.
std::string progress_line(const ProgressFacts& facts, int columns);

/// Columns that a terminal needs for a text in UTF-8: two for the wide letters of East Asia and for emoji, one for others.
int columns_of(const std::string& text);

/// "1:02:03", "4:05".
std::string clock_text(double total_s);

/// One line that rewrites itself on a terminal, a line every `log_every` steps elsewhere.
class Progress {
 public:
  Progress(std::int64_t total_steps, std::int64_t first_step, std::int64_t log_every, double total_epochs);
  /// Steps are of this stage from now on; empty: not to be shown.
  void name_stage(const std::string& name) { stage_ = name; }
  void show(const StepReport& report);
  /// Ends a line that is being rewritten, before other output.
  void finish_line();
  bool is_log_step(const StepReport& report) const;

 private:
  std::int64_t total_steps_, first_step_, log_every_;
  double total_epochs_;
  std::string stage_;
  double smoothed_step_s_ = 0.0;
  double last_shown_s_ = 0.0;
  bool is_terminal_ = false;
  bool is_line_open_ = false;
};

/// Width of the terminal on which a person reads standard output, mpirun in between or not (mpirun gives its ranks a
/// pseudo-terminal either way, of no width): what the terminal says, else COLUMNS, else 80. 0: nobody reads it on a terminal.
int terminal_columns();

}  // namespace dtrain
