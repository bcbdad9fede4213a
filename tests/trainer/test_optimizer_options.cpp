// Options of the optimizers: each with those that have it, defaults, and what a recipe says of them.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "trainer/optimizer_options.hpp"
#include "trainer/run_plan.hpp"

namespace dtrain {
namespace {

TrainConfig config_of(const std::string& optimizer, const std::function<void(TrainConfig&)>& change = {}) {
  TrainConfig config;
  config.optimizer = optimizer;
  if (change) change(config);
  return config;
}

/// Options named by the faults, in order.
std::vector<std::string> faulty(const TrainConfig& config) {
  std::vector<std::string> options;
  for (const Fault& fault : optimizer_faults(config)) options.push_back(fault.doing);
  return options;
}

using Options = std::vector<std::string>;

TEST(OptimizerOptions, BelongToTheOptimizersThatHaveThem) {
  struct Case {
    const char* option;
    std::function<void(TrainConfig&)> give;
    Options optimizers;  // that take it
  };
  const std::vector<Case> cases{
      {"--momentum", [](TrainConfig& c) { c.momentum = 0.5; }, {"sgd", "nesterov", "rmsprop", "lars"}},
      {"--momentum-schedule", [](TrainConfig& c) { c.momentum_schedule = "cosine"; }, {"sgd", "nesterov", "rmsprop", "lars"}},
      {"--weight-decay", [](TrainConfig& c) { c.weight_decay = 0.5; }, {"sgd", "nesterov", "rmsprop", "lars", "adamw", "lamb"}},
      {"--rate-in-velocity", [](TrainConfig& c) { c.rate_in_velocity = true; }, {"sgd", "nesterov"}},
      {"--rmsprop-form", [](TrainConfig& c) { c.rmsprop_form = "torch"; }, {"rmsprop"}},
      {"--rmsprop-alpha", [](TrainConfig& c) { c.rmsprop_alpha = 0.5; }, {"rmsprop"}},
      {"--beta1", [](TrainConfig& c) { c.beta1 = 0.5; }, {"adamw", "lamb"}},
      {"--beta2", [](TrainConfig& c) { c.beta2 = 0.5; }, {"adamw", "lamb"}},
      {"--epsilon", [](TrainConfig& c) { c.epsilon = 0.5; }, {"rmsprop", "adamw", "lamb"}},
      {"--trust-coefficient", [](TrainConfig& c) { c.trust_coefficient = 0.5; }, {"lars"}},
      {"--adapt-norms", [](TrainConfig& c) { c.adapts_norms = true; }, {"lars", "lamb"}},
      {"--clip-norm", [](TrainConfig& c) { c.clip_norm = 0.5; }, {"sgd", "nesterov", "rmsprop", "lars", "adamw", "lamb"}},
      {"--ema", [](TrainConfig& c) { c.ema = 0.5; }, {"sgd", "nesterov", "rmsprop", "lars", "adamw", "lamb"}},
  };
  for (const Case& one : cases) {
    for (const std::string& optimizer : optimizer_names()) {
      const bool takes = std::ranges::find(one.optimizers, optimizer) != one.optimizers.end();
      EXPECT_EQ(faulty(config_of(optimizer, one.give)), takes ? Options{} : Options{one.option}) << optimizer;
    }
  }
}

TEST(OptimizerOptions, AreWithinTheirRanges) {
  EXPECT_EQ(faulty(config_of("sgd", [](TrainConfig& c) { c.momentum = 1.0; })), Options{"--momentum"});
  EXPECT_EQ(faulty(config_of("sgd", [](TrainConfig& c) { c.weight_decay = -1.0; })), Options{"--weight-decay"});
  EXPECT_EQ(faulty(config_of("nesterov", [](TrainConfig& c) { c.momentum = 0.0; })), Options{"--optimizer nesterov"});
  EXPECT_EQ(faulty(config_of("rmsprop", [](TrainConfig& c) { c.rmsprop_form = "keras"; })), Options{"--rmsprop-form"});
  EXPECT_EQ(faulty(config_of("rmsprop", [](TrainConfig& c) { c.rmsprop_alpha = 1.0; })), Options{"--rmsprop-alpha"});
  EXPECT_EQ(faulty(config_of("rmsprop", [](TrainConfig& c) { c.epsilon = 0.0; })), Options{"--epsilon"});
  EXPECT_EQ(faulty(config_of("lars", [](TrainConfig& c) { c.trust_coefficient = 0.0; })), Options{"--trust-coefficient"});
  EXPECT_EQ(faulty(config_of("sgd", [](TrainConfig& c) { c.clip_norm = 0.0; })), Options{"--clip-norm"});
  for (const double ema : {0.0, 0.4999, 1.0, std::nan("")}) {
    EXPECT_EQ(faulty(config_of("sgd", [&](TrainConfig& c) { c.ema = ema; })), Options{"--ema"}) << ema;
  }
  EXPECT_EQ(faulty(config_of("adamw", [](TrainConfig& c) { c.beta1 = -0.1, c.beta2 = 1.0; })), (Options{"--beta1", "--beta2"}));
}

TEST(OptimizerOptions, CorrectTheMomentumOnlyWhereTheVelocityHasTheRate) {
  const auto corrected = [](TrainConfig& c) { c.momentum_correction = true; };
  const auto rated = [](TrainConfig& c) { c.rate_in_velocity = c.momentum_correction = true; };
  for (const std::string& optimizer : optimizer_names()) EXPECT_FALSE(faulty(config_of(optimizer, corrected)).empty());
  EXPECT_TRUE(faulty(config_of("sgd", rated)).empty());
  EXPECT_TRUE(faulty(config_of("nesterov", rated)).empty());
}

TEST(OptimizerOptions, WithNormsWantAllGradientsBeforeTheFirstUpdate) {
  const auto expect_refused = [](const std::string& optimizer, std::optional<double> clip_norm) {
    const auto faults_with = [&](const std::string& overlap, const std::string& allreduce) {
      return faulty(config_of(optimizer, [&](TrainConfig& c) {
        c.clip_norm = clip_norm;
        c.overlap = overlap;
        c.allreduce = allreduce;
      }));
    };
    for (const std::string overlap : {"on", "backward", "off"}) EXPECT_EQ(faults_with(overlap, "auto"), Options{});
    EXPECT_EQ(faults_with("forward", "auto"), Options{"--overlap forward"});
    EXPECT_EQ(faults_with("on", "ps"), Options{"--allreduce ps"});
  };
  expect_refused("lars", {});
  expect_refused("lamb", {});
  expect_refused("adamw", 1.0);
  EXPECT_TRUE(faulty(config_of("adamw", [](TrainConfig& c) { c.overlap = "forward", c.allreduce = "ps"; })).empty());
}

TEST(OptimizerOptions, HaveTheDefaultsOfTheirProgram) {
  const OptimizerSettings torch = optimizer_settings(config_of("rmsprop"));
  const OptimizerSettings tensorflow = optimizer_settings(config_of("rmsprop", [](auto& c) { c.rmsprop_form = "tensorflow"; }));
  const OptimizerSettings adamw = optimizer_settings(config_of("adamw"));

  EXPECT_EQ((std::pair{torch.alpha, torch.epsilon}), (std::pair{0.99, 1e-8}));
  EXPECT_EQ((std::pair{tensorflow.alpha, tensorflow.epsilon}), (std::pair{0.9, 1e-10}));
  EXPECT_EQ((std::pair{adamw.beta1, adamw.beta2}), (std::pair{0.9, 0.999}));
  EXPECT_EQ(adamw.epsilon, 1e-8);
  EXPECT_EQ(optimizer_settings(config_of("lamb")).epsilon, 1e-6);
  EXPECT_EQ(optimizer_settings(config_of("lars")).trust_coefficient, 0.001);
  EXPECT_EQ(weight_decay_of(config_of("adamw")), 0.01);
  EXPECT_EQ(weight_decay_of(config_of("sgd")), 1e-4);
  EXPECT_EQ(base_rate(config_of("adamw")), 0.001);
  EXPECT_EQ(base_rate(config_of("adamw", [](auto& c) { c.base_lr = 0.5; })), 0.5);
}

TEST(OptimizerOptions, AreInTheRecipeUnlessTheyAreThoseOfOlderRuns) {
  EXPECT_EQ(describe_optimizer(config_of("sgd")), "");
  EXPECT_EQ(describe_optimizer(config_of("nesterov", [](auto& c) { c.rate_in_velocity = c.momentum_correction = true; })),
            "rate_in_velocity=on\nmomentum_correction=on\n");
  EXPECT_EQ(describe_optimizer(config_of("rmsprop", [](auto& c) { c.rmsprop_alpha = 0.5, c.epsilon = 0.25; })),
            "rmsprop_form=torch\nrmsprop_alpha=0.5\nepsilon=0.25\n");
  EXPECT_EQ(describe_optimizer(config_of("adamw", [](auto& c) { c.beta1 = 0.5, c.beta2 = 0.75, c.epsilon = 0.25; })),
            "beta1=0.5\nbeta2=0.75\nepsilon=0.25\n");
  EXPECT_EQ(describe_optimizer(config_of("lars", [](auto& c) { c.trust_coefficient = 0.5, c.adapts_norms = true; })),
            "trust_coefficient=0.5\nadapt_norms=on\n");
  EXPECT_EQ(describe_optimizer(config_of("sgd", [](auto& c) { c.clip_norm = 2.0, c.ema = 0.75; })), "clip_norm=2\nema=0.75\n");
}

TEST(RatesOfStep, HaveTheRatioOfRatesWhereMomentumIsCorrectedAndCountUpdates) {
  TrainConfig config = config_of("sgd", [](auto& c) { c.rate_in_velocity = true; });
  config.lr = 0.4;
  config.steps = 10;
  config.global_batch = 8;
  config.warmup_epochs = 0.5;  // four steps: rates 0 0.1 0.2 0.3 0.4 …
  config.schedule = "constant";
  const auto rates = [&](std::int64_t step) {
    return rates_of_step(plan_run(config, {.samples = 64, .classes = 10}, 1), step);
  };

  EXPECT_EQ(rates(2).rate_ratio, 1.0f);
  EXPECT_EQ(rates(2).updates, 3);
  config.momentum_correction = true;
  EXPECT_EQ(rates(0).rate_ratio, 1.0f);
  EXPECT_EQ(rates(1).rate_ratio, 1.0f) << "the rate before was 0";
  EXPECT_FLOAT_EQ(rates(2).rate_ratio, 2.0f);
  EXPECT_FLOAT_EQ(rates(5).rate_ratio, 1.0f);
}

}  // namespace
}  // namespace dtrain
