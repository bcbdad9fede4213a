// status.json; see run_status.hpp.
#include "trainer/run_status.hpp"

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>
#include <utility>

namespace dtrain {
namespace {

constexpr std::array<std::pair<RunState, const char*>, 4> kStateNames{
    {{RunState::running, "running"}, {RunState::done, "done"}, {RunState::stopped, "stopped"}, {RunState::failed, "failed"}}};

std::string name_of(RunState state) {
  for (const auto& [value, name] : kStateNames) {
    if (value == state) return name;
  }
  return "failed";
}

std::optional<RunState> state_named(const std::string& text) {
  for (const auto& [value, name] : kStateNames) {
    if (text == name) return value;
  }
  return std::nullopt;
}

}  // namespace

std::string status_json(const RunStatus& status) {
  using OrderedJson = nlohmann::ordered_json;
  const OrderedJson json{{"state", name_of(status.state)},
                         {"exit_code", status.exit_code ? OrderedJson(*status.exit_code) : OrderedJson(nullptr)},
                         {"step", status.step},
                         {"total_steps", status.total_steps},
                         {"epoch", status.epoch},
                         {"reason", status.reason},
                         {"ranks", status.ranks},
                         {"host", status.host},
                         {"pid", status.pid},
                         {"started", status.started},
                         {"time", status.time},
                         {"version", status.version},
                         {"command", status.command}};
  return json.dump(1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::optional<RunStatus> parse_status(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  RunStatus status;
  try {
    const std::optional<RunState> state = state_named(json.at("state").get<std::string>());
    if (!state) return std::nullopt;
    status.state = *state;
    if (const auto& code = json.at("exit_code"); !code.is_null()) status.exit_code = code.get<int>();
    json.at("step").get_to(status.step);
    json.at("total_steps").get_to(status.total_steps);
    json.at("epoch").get_to(status.epoch);
    json.at("reason").get_to(status.reason);
    json.at("ranks").get_to(status.ranks);
    json.at("host").get_to(status.host);
    json.at("pid").get_to(status.pid);
    json.at("started").get_to(status.started);
    json.at("time").get_to(status.time);
    json.at("version").get_to(status.version);
    json.at("command").get_to(status.command);
  } catch (const nlohmann::json::exception&) {
    return std::nullopt;
  }
  return status;
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace dtrain
