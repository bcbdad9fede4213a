// From the command line to a running command: parses, starts MPI where ranks are needed, places the threads, and turns what
// goes wrong into one message and an exit code.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <iterator>
#include <new>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <variant>

#include "collectives/call_watch.hpp"
#include "collectives/communicator.hpp"
#include "collectives/joining.hpp"
#include "collectives/stall_watch.hpp"
#include "dtrain/error.hpp"
#include "launch/binding.hpp"
#include "launch/command_line.hpp"
#include "launch/commands.hpp"
#include "launch/logging.hpp"
#include "launch/memory_share.hpp"
#include "launch/openmp_environment.hpp"
#include "launch/rank_map.hpp"
#include "launch/same_options.hpp"
#include "launch/standard_streams.hpp"
#include "launch/stop_signal.hpp"
#include "trainer/datasets.hpp"
#include "trainer/on_root.hpp"
#include "trainer/run.hpp"
#include "trainer/run_directory.hpp"
#include "trainer/same_program.hpp"

namespace dtrain {
namespace {

/// Exit code of what nobody foresaw: a bug, or memory that ran out.
constexpr int kUnforeseen = 1;

/// A rank other than 0 waits this long before it reports an error: had rank 0 met the same one, it has ended the job by then,
/// and the message stands there once.
constexpr std::chrono::milliseconds kRootSpeaksFirst{1500};

/// Where every rank has to say something, all of them have done so after this long: then rank 0 ends the job, or, where that
/// one is lost, the others do soon after.
constexpr std::chrono::milliseconds kAllHaveSpoken{1500};
constexpr std::chrono::milliseconds kRootEndsFirst{500};

/// Which process this is, as far as is known by now.
struct Identity {
  int rank = 0;
  int size = 1;
  std::string host;
};

/// An error that reached main.
struct Failure {
  int exit_code = kUnforeseen;
  std::string text;
  bool names_rank = true;      ///< false: a fault of the command line, the same on every rank
  bool is_alone = false;       ///< there are no ranks to end: each process meets the fault by itself
  bool is_silent = false;      ///< another process says it
  bool is_met_by_all = false;  ///< other ranks were lost: every rank that is left sees so for itself, and says so
};

Failure internal_error(const std::exception& error) {
  return {.text = "internal error, which should not happen and is worth a report: " + std::string(error.what())};
}

/// What the exception being handled means. To be called in a catch block.
Failure describe_failure() {
  try {
    throw;
  } catch (const ConfigError& error) {
    return {.exit_code = static_cast<int>(error.exit_code()), .text = error.what(), .names_rank = false};
  } catch (const NotJoinedError& error) {
    return {.exit_code = static_cast<int>(error.exit_code()),
            .text = error.what(),
            .names_rank = false,
            .is_alone = true,
            .is_silent = !error.speaks()};
  } catch (const LostRanksError& error) {
    return {.exit_code = static_cast<int>(error.exit_code()), .text = error.what(), .is_met_by_all = true};
  } catch (const Error& error) {
    return {.exit_code = static_cast<int>(error.exit_code()), .text = error.what()};
  } catch (const std::bad_alloc&) {
    return {.text = to_text(Fault{.doing = "allocating memory",
                                  .expected = "enough of it for this rank's share of the batch",
                                  .found = "none left",
                                  .remedy = "a smaller --local-batch, or fewer ranks on a node"})};
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) return internal_error(error);
    return {.text =
                to_text(Fault{.doing = "starting a thread",
                              .expected = "as many threads as ranks compute, load images and exchange with",
                              .found = "that the system gives no more (" + error.code().message() + ")",
                              .remedy = "a higher limit of processes (ulimit -u, or that of the container), fewer --threads "
                                        "and --workers, or fewer ranks on a node"})};
  } catch (const std::exception& error) {
    return internal_error(error);
  }
}

/// Says what happened and ends all ranks. Result: the exit code, for a process that is alone.
int end_with(const Failure& failure, const Identity& self) {
  forget_stop_signals();
  const bool is_root = self.rank == 0;
  if (self.size > 1 && !is_root && !failure.is_met_by_all) std::this_thread::sleep_for(kRootSpeaksFirst);
  const auto before_the_end = is_root ? kAllHaveSpoken : kAllHaveSpoken + kRootEndsFirst;
  if (failure.is_met_by_all) {
    // A launcher that is lost may no longer take what is printed.
    MpiSession::end_process_after(std::chrono::duration<double>(before_the_end).count() + MpiSession::kAbort_s,
                                  failure.exit_code);
  }
  const bool adds_rank = failure.names_rank && self.size > 1 && is_root;
  if (!failure.is_silent) spdlog::error("{}{}", adds_rank ? "[rank 0 on " + self.host + "] " : "", failure.text);
  if (failure.is_met_by_all) std::this_thread::sleep_for(before_the_end);
  if (self.size > 1 && !failure.is_alone) MpiSession::abort(failure.exit_code);
  return failure.exit_code;
}

template <typename Config>
PlacementRequest placement_request(const Config& config, const OpenMpEnvironment& openmp) {
  require_within_thread_limit(openmp, config.threads);
  const bool is_given = config.threads > 0;
  return {.threads = is_given ? config.threads : threads_by_environment(openmp),
          .threads_by = is_given ? "" : "OMP_NUM_THREADS=" + openmp.num_threads,
          .most_threads = openmp.thread_limit,
          .comm_cores = config.comm_cores,
          .bind = parse_bind_policy(config.bind),
          .workers = config.workers};
}

/// The placement of this rank's machine, and what this rank should say of its own part.
struct PlacedMachine {
  MachinePlan plan;
  std::vector<std::string> remarks;
};

template <typename Config>
PlacedMachine place_machine(const Config& config, const Communicator& communicator) {
  const OpenMpEnvironment openmp = read_openmp_environment();
  PlacedMachine placed{.plan = plan_machine(communicator, placement_request(config, openmp)), .remarks = {}};
  const MachinePlan& plan = placed.plan;
  placed.remarks = plan.own().warnings;
  std::ranges::copy(openmp_warnings(openmp, plan.own(), config.threads > 0, plan.usable, plan.offered),
                    std::back_inserter(placed.remarks));
  return placed;
}

/// Says it where the ranks' CPUs differ, or refuses them.
void compare_cpus(const Communicator& communicator, bool refuses) {
  std::optional<Fault> fault = find_mixed_cpus(communicator);
  if (!fault) return;
  if (!refuses) {
    if (communicator.is_root()) spdlog::warn("{}", to_text(*fault));
    return;
  }
  fault->remedy += ", or --mixed-cpus allow";
  throw CommError(*fault);
}

/// What is wrong with a machine's binding, once for it.
std::string shared_cores_text(const MachinePlan& plan) {
  return plan.shared_cores && plan.self == 0 ? to_text(*plan.shared_cores) : "";
}

/// Ends the run on all ranks where a launcher bound ranks of some machines to the same cores. --bind none is the user's word
/// that it is so meant.
void refuse_shared_cores(const Communicator& communicator, const MachinePlan& plan) {
  std::vector<std::string> texts = communicator.gather_texts(shared_cores_text(plan));
  std::erase(texts, "");
  if (texts.empty()) return;
  const std::string others = texts.size() == 1 ? "" : "\n  and so on " + counted(std::ssize(texts) - 1, "other machine");
  throw ConfigError(texts.front() + ", or --bind none to have it so all the same" + others);
}

int print_map(const TopoConfig& config, const Communicator& communicator) {
  const auto [plan, own_remarks] = place_machine(config, communicator);
  const std::vector<std::string> maps = communicator.gather_texts(plan.self == 0 ? map_text(plan) : "");
  std::vector<std::string> remarks = own_remarks;
  if (const std::string text = shared_cores_text(plan); !text.empty()) remarks.insert(remarks.begin(), text);
  const std::vector<std::string> warnings = gather_remarks(communicator, remarks);
  if (communicator.is_root()) {
    for (const std::string& map : maps) std::fputs(map.c_str(), stdout);
    std::fflush(stdout);
  }
  for (const std::string& warning : warnings) spdlog::warn("{}", warning);
  compare_cpus(communicator, false);
  return static_cast<int>(ExitCode::done);
}

/// Places this rank's threads for good, and says what the user should know.
template <typename Config>
RunEnvironment make_environment(const Config& config, const Communicator& communicator,
                                const std::vector<std::string>& command) {
  compare_cpus(communicator, config.mixed_cpus == "refuse");
  auto [plan, remarks] = place_machine(config, communicator);
  if (parse_bind_policy(config.bind) != BindPolicy::none) {
    refuse_shared_cores(communicator, plan);
  } else if (const std::string text = shared_cores_text(plan); !text.empty()) {
    remarks.insert(remarks.begin(), text);
  }
  communicator.watch().watch_stop_request(&watch_stop_signals());
  RunEnvironment environment{.placement = plan.own().placement,
                             .memory_share_bytes = memory_share(available_memory_bytes(), plan.ranks.size()),
                             .stop_requested = &watch_stop_signals(),
                             .command = command};
  for (std::string& remark : carry_out(environment.placement)) remarks.push_back(std::move(remark));
  for (const std::string& remark : gather_remarks(communicator, remarks)) spdlog::warn("{}", remark);
  return environment;
}

int run(const TopoConfig& config, Communicator& communicator, const std::vector<std::string>&) {
  return print_map(config, communicator);
}

/// The plan of one rank that has this machine's ranks beside it.
int run(const ModelsConfig& config, Communicator& communicator, const std::vector<std::string>&) {
  const std::size_t ranks = plan_machine(communicator, {}).ranks.size();
  if (!communicator.is_root()) return static_cast<int>(ExitCode::done);
  const std::string text =
      plan_text(config, plan_training_memory(planned_run(config)), memory_share(available_memory_bytes(), ranks));
  std::fputs(text.c_str(), stdout);
  std::fflush(stdout);
  return static_cast<int>(ExitCode::done);
}

int run(const EvalConfig& config, Communicator& communicator, const std::vector<std::string>& command) {
  const RunEnvironment environment = make_environment(config, communicator, command);
  forget_stop_signals();  // there is nothing to save first
  return run_evaluation(config, communicator, environment);
}

int run(const TrainConfig& config, Communicator& communicator, const std::vector<std::string>& command) {
  if (!config.dry_run.empty()) {
    return run_dry(config, communicator, make_environment(config, communicator, command));
  }
  if (config.out.empty()) return run_training(config, communicator, make_environment(config, communicator, command));
  on_root(communicator, [&] { require_out_beside_images(config.out, {.train = config.data, .validation = config.val_data}); });
  const RunDirectory::Run run{.out = config.out, .resumes = config.resume == "auto", .command = command};
  RunDirectory directory(run, communicator);  // before anything in it is touched, the log included
  try {
    start_logging({.rank = communicator.rank(), .host = host_name(), .file = std::filesystem::path(config.out) / "log.txt"});
    RunEnvironment environment = make_environment(config, communicator, command);
    environment.directory = &directory;
    const int exit_code = run_training(config, communicator, environment);
    directory.end(exit_code, exit_code == static_cast<int>(ExitCode::done) ? "all steps are done" : "stopped on request");
    return exit_code;
  } catch (...) {
    const Failure failure = describe_failure();
    directory.end(failure.exit_code, failure.text);
    throw;
  }
}

int run(const BenchConfig& config, Communicator& communicator, const std::vector<std::string>& command) {
  const RunEnvironment environment = make_environment(config.training, communicator, command);
  forget_stop_signals();  // there is nothing to save first
  return run_bench(config, communicator, environment);
}

/// Ranks that count as one node; 0: those on one machine, also where the command has no such option.
template <typename Config>
int ranks_per_node_of(const Config& config) {
  if constexpr (requires { config.ranks_per_node; }) {
    return config.ranks_per_node;
  } else if constexpr (requires { config.training.ranks_per_node; }) {
    return config.training.ranks_per_node;
  } else {
    return 0;
  }
}

/// Where the command has no such option: its default.
template <typename Config>
double stall_timeout_of(const Config& config) {
  if constexpr (requires { config.stall_timeout_s; }) {
    return config.stall_timeout_s;
  } else if constexpr (requires { config.training.stall_timeout_s; }) {
    return config.training.stall_timeout_s;
  } else {
    return TrainConfig{}.stall_timeout_s;
  }
}

/// Of a call inside MPI that does not come back. Every rank that is left sees so for itself.
[[noreturn]] void end_stuck(const std::string& text, const Identity& self) {
  constexpr int kCode = static_cast<int>(ExitCode::communication);
  end_with({.exit_code = kCode, .text = text, .is_met_by_all = true}, self);
  MpiSession::abort(kCode);
}

/// Runs a command on all ranks, under MPI.
template <typename Config>
int run_on_ranks(const Config& config, const std::vector<std::string>& command, int argc, char** argv, Identity& self) {
  CallWatch calls(stall_timeout_of(config), [&self](const std::string& text) { end_stuck(text, self); });
  MpiSession session(&argc, &argv, &calls);
  try {
    {
      const CallWatch::Scope scope(&calls, "waiting for all ranks to say which dtrain they are (an old one does not)");
      require_same_program();
    }
    {
      const CallWatch::Scope scope(&calls, "waiting for all ranks to say their options");
      require_same_options(common_options(config));
    }
    Communicator communicator(ranks_per_node_of(config), &calls);
    self = {.rank = communicator.rank(), .size = communicator.size(), .host = host_name()};
    start_logging({.rank = self.rank, .host = self.host});
    communicator.watch().on_warning([](const std::string& text) { spdlog::warn("{}", text); });
    const int exit_code = run(config, communicator, command);
    communicator.barrier();  // watched, which MPI's own meeting at the end is not
    return exit_code;
  } catch (...) {
    // The session outlives this: it ends the peers, who wait for this rank.
    return end_with(describe_failure(), self);
  }
}

/// Commands that need no other rank: under mpirun, the first process does the work.
template <typename Work>
int run_alone(const Identity& self, Work work) {
  if (self.rank != 0) return static_cast<int>(ExitCode::done);
  std::fputs(work().c_str(), stdout);
  return static_cast<int>(ExitCode::done);
}

struct CommandRunner {
  const std::vector<std::string>& command;
  int argc;
  char** argv;
  Identity& self;

  int operator()(const ShowText& show) const {
    return run_alone(self, [&] { return show.text; });
  }
  int operator()(const InitConfig& config) const {
    return run_alone(self, [&] { return write_fresh_weights(config); });
  }
  int operator()(const ModelsConfig& config) const {
    if (!config.plan.empty()) return run_on_ranks(config, command, argc, argv, self);
    return run_alone(self, [&] { return models_text(config); });
  }
  int operator()(const MakeDemoConfig& config) const {
    return run_alone(self, [&] { return render_demo(config); });
  }
  int operator()(const InspectConfig& config) const {
    return run_alone(self, [&] { return inspect_text(config); });
  }
  int operator()(const PlotConfig& config) const {
    return run_alone(self, [&] { return plot_runs(config); });
  }
  int operator()(const TrainConfig& config) const { return run_on_ranks(config, command, argc, argv, self); }
  int operator()(const BenchConfig& config) const { return run_on_ranks(config, command, argc, argv, self); }
  int operator()(const EvalConfig& config) const { return run_on_ranks(config, command, argc, argv, self); }
  int operator()(const TopoConfig& config) const { return run_on_ranks(config, command, argc, argv, self); }
};

/// Of a program that did its work, but may not have been able to say so. A training's result is in its files.
int exit_code_after_printing(int exit_code, const Command& command) {
  const std::optional<std::string> printing = printing_fault();
  if (!printing) return exit_code;
  const auto* const training = std::get_if<TrainConfig>(&command);
  const bool is_result = training == nullptr || !training->dry_run.empty();
  const std::string text = to_text(Fault{.doing = "printing to the standard output",
                                         .expected = "that it takes every line",
                                         .found = *printing,
                                         .remedy = "another file or a pipe for it"});
  if (!is_result || exit_code != static_cast<int>(ExitCode::done)) {
    spdlog::warn("{}", text);
    return exit_code;
  }
  spdlog::error("{}", text);
  return static_cast<int>(ExitCode::data);
}

int run_program(int argc, char** argv) {
  prepare_standard_streams();
  const LaunchedAs launched = read_launcher_environment();
  Identity self{.rank = launched.rank, .size = launched.size, .host = host_name()};
  start_logging({.rank = self.rank, .host = self.host});
  const std::vector<std::string> command(argv, argv + argc);
  Command parsed;
  try {
    parsed = parse_command_line({command.begin() + 1, command.end()}, launched.size);
  } catch (const ConfigError& error) {
    // All ranks were given the same line and fail alike, unless a CPU lacks what was asked for: who still runs after the wait
    // is the only one to say so.
    if (self.rank != 0) std::this_thread::sleep_for(kRootSpeaksFirst);
    spdlog::error("{}", error.what());
    return static_cast<int>(error.exit_code());
  }
  try {
    return exit_code_after_printing(std::visit(CommandRunner{command, argc, argv, self}, parsed), parsed);
  } catch (...) {
    return end_with(describe_failure(), self);
  }
}

}  // namespace
}  // namespace dtrain

int main(int argc, char** argv) { return dtrain::run_program(argc, argv); }
