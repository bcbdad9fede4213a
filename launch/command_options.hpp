// The options of every command, as tables that fill its configuration. What values mean together is for the trainer's checks.
#pragma once

#include "launch/command_line.hpp"
#include "launch/option_table.hpp"

namespace dtrain {

// Each table writes into the configuration that it is made of, which outlives it.
OptionTable train_table(TrainConfig& c);
OptionTable eval_table(EvalConfig& c);
OptionTable bench_table(BenchConfig& c);
OptionTable init_table(InitConfig& c);
OptionTable models_table(ModelsConfig& c);
OptionTable topo_table(TopoConfig& c);
OptionTable make_demo_table(MakeDemoConfig& c);
OptionTable inspect_table(InspectConfig& c);
OptionTable plot_table(PlotConfig& c);

}  // namespace dtrain
