// spdlog's sinks and the form of a line.
#include "launch/logging.hpp"

#include <fcntl.h>
#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/base_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "dtrain/error.hpp"
#include "trainer/launcher_stream.hpp"
#include "trainer/visible_text.hpp"

namespace dtrain {
namespace {

/// Begins warnings and errors with their level; ordinary lines stand alone.
class LevelWord : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& line) override {
    if (message.level < spdlog::level::warn) return;
    const auto word = spdlog::level::to_string_view(message.level);
    line.append(word.data(), word.data() + word.size());
    line.push_back(':');
    line.push_back(' ');
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<LevelWord>(); }
};

/// What is said, whose words may come from files: names of images, say.
class SafeWords : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&, spdlog::memory_buf_t& line) override {
    const std::string words = visible_lines({message.payload.data(), message.payload.size()});
    line.append(words.data(), words.data() + words.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override { return std::make_unique<SafeWords>(); }
};

std::unique_ptr<spdlog::formatter> form(const std::string& pattern) {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<LevelWord>('*').add_flag<SafeWords>('W').set_pattern(pattern);
  return formatter;
}

/// Standard error, as long as somebody reads it.
class TerminalSink : public spdlog::sinks::stderr_color_sink_mt {
 public:
  void log(const spdlog::details::log_msg& message) override {
    if (launcher_stream_has_reader(STDERR_FILENO)) spdlog::sinks::stderr_color_sink_mt::log(message);
  }
};

/// Appended to, under its own name alone: a link would lead to another file.
class FileSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  /// Errors: spdlog_ex.
  explicit FileSink(const std::string& path)
      : descriptor_(open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666)) {
    if (descriptor_ >= 0) return;
    const int error_number = errno;
    throw spdlog::spdlog_ex(error_number == ELOOP ? "a symbolic link" : std::generic_category().message(error_number));
  }
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;
  ~FileSink() override { close(descriptor_); }

 private:
  void sink_it_(const spdlog::details::log_msg& message) override {
    spdlog::memory_buf_t line;
    formatter_->format(message, line);
    for (std::size_t at = 0; at < line.size();) {
      const ssize_t written = write(descriptor_, line.data() + at, line.size() - at);
      if (written < 0 && errno == EINTR) continue;
      if (written < 0) throw spdlog::spdlog_ex("writing the log file", errno);
      at += static_cast<std::size_t>(written);
    }
  }
  void flush_() override {}

  int descriptor_;
};

/// A host name may hold anything; % would begin a flag.
std::string escaped(const std::string& text) {
  std::string safe;
  for (const char letter : text) safe += letter == '%' ? std::string("%%") : std::string(1, letter);
  return safe;
}

spdlog::sink_ptr open_log_file(const std::filesystem::path& path) {
  std::error_code fault;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), fault);
  try {
    if (fault) throw spdlog::spdlog_ex(fault.message());
    if (std::filesystem::is_fifo(path, fault)) throw spdlog::spdlog_ex("a pipe, which would wait for a reader");
    return std::make_shared<FileSink>(path.string());
  } catch (const spdlog::spdlog_ex& error) {
    throw DataError(Fault{.doing = "opening the log file " + path.string(),
                          .expected = "a file that can be written, in a directory that can be",
                          .found = error.what(),
                          .remedy = "another --out"});
  }
}

}  // namespace

void start_logging(const LogSetup& setup) {
  auto terminal = std::make_shared<TerminalSink>();
  const bool is_root = setup.rank == 0;
  const std::string who = is_root ? "" : "[rank " + std::to_string(setup.rank) + " on " + escaped(setup.host) + "] ";
  terminal->set_formatter(form("%^%*%$" + who + "%W"));
  std::vector<spdlog::sink_ptr> sinks{terminal};
  if (is_root && !setup.file.empty()) {
    sinks.push_back(open_log_file(setup.file));
    sinks.back()->set_formatter(form("%Y-%m-%d %H:%M:%S %*%W"));
  }
  auto logger = std::make_shared<spdlog::logger>("dtrain", sinks.begin(), sinks.end());
  logger->set_level(is_root ? spdlog::level::info : spdlog::level::warn);
  logger->flush_on(spdlog::level::info);
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace dtrain
