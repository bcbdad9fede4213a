// Every option is compared over the ranks, also one that nobody thought of, but for those that are listed here.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "launch/command_options.hpp"
#include "launch/same_options.hpp"

namespace dtrain {
namespace {

/// Each rank follows these by itself.
const std::set<std::string> kOwn{"data", "val-data", "class-indices", "threads", "workers", "comm-cores"};

/// A value that the option takes, and that is not its default.
std::string another_value(const Option& option) {
  if (option.value.empty()) return "";
  if (option.value == "on|off") return option.default_text == "on" ? "off" : "on";
  return option.value == "F" ? "0.625" : "7531";  // any text will do where words are expected: they are judged later
}

std::map<std::string, std::string> by_name(const std::vector<Communicator::NamedValue>& values) {
  std::map<std::string, std::string> named;
  for (const auto& [name, value] : values) named[name] = value;
  return named;
}

template <typename Config>
void expect_every_option_is_compared(OptionTable (*make_table)(Config&)) {
  Config plain;
  const auto before = by_name(common_options(plain));
  for (const Option& described : make_table(plain).options) {
    SCOPED_TRACE(described.name);
    Config changed;
    for (const Option& option : make_table(changed).options) {
      if (option.name != described.name) continue;
      ASSERT_EQ(option.apply(another_value(option)), "");
    }
    const auto after = by_name(common_options(changed));

    const std::string name = "--" + described.name;
    EXPECT_EQ(before.contains(name), !kOwn.contains(described.name));
    if (kOwn.contains(described.name)) continue;
    for (const auto& [other, value] : after) {
      EXPECT_EQ(value == before.at(other), other != name) << other;
    }
  }
}

TEST(SameOptions, AreAllOfACommandButThoseOfAHost) {
  expect_every_option_is_compared(train_table);
  expect_every_option_is_compared(eval_table);
  expect_every_option_is_compared(bench_table);
  expect_every_option_is_compared(models_table);
  expect_every_option_is_compared(topo_table);
}

TEST(SameOptions, HaveOneSpelling) {
  const auto rate_of = [](const char* text) {
    const Command command = parse_command_line({"train", "--lr", text}, 2);
    return by_name(common_options(std::get<TrainConfig>(command))).at("--lr");
  };

  EXPECT_EQ(rate_of("0.1"), rate_of("1e-1"));
  EXPECT_EQ(rate_of("0.1"), "0.1");
  EXPECT_NE(rate_of("0.1"), rate_of("0.10000000000000002"));
}

TEST(SameOptions, BeginWithTheCommand) {
  EXPECT_EQ(common_options(TrainConfig{}).front().value, "dtrain train");
  EXPECT_EQ(common_options(EvalConfig{}).front().value, "dtrain eval");
}

}  // namespace
}  // namespace dtrain
