// Groups of options by command, with their help; see command_options.hpp.
#include "launch/command_options.hpp"

#include <algorithm>
#include <utility>

namespace dtrain {
namespace {

// Rows that several commands have.
Option allow_slow_option(bool& field) {
  return switch_option("allow-slow", "bf16 also on a CPU that has to imitate it.", field);
}
Option conv_option(std::string& field) {
  return text_option("conv", "auto|direct", "Convolution algorithms; auto may use Winograd.", field);
}
Option recompute_option(std::string& field) {
  return text_option(
      "recompute", "off|bn",
      "Results of batch-norm, and of convolutions as cheap, computed again in backward: less memory, a little slower.", field);
}
Option bn_option(std::string& field) {
  return text_option("bn", "local|sync",
                     "Batch-norm's statistics: of a micro-batch, or of those that all ranks compute at the same time.", field);
}
Option crop_option(std::int64_t& field) {
  return whole_option("crop", "Side of the pictures that the network sees, pixels.", 1, field,
                      "that of the weights that are read, else the model's");
}
/// How images are prepared, by whoever reads them. belongs_to: where the defaults come from.
std::vector<Option> preprocessing_options(std::string& interpolation, std::string& mean, std::string& stddev,
                                          const std::string& belongs_to) {
  return {
      text_option("interpolation", "bilinear|bicubic|nearest", "Filter with which images are resized, as PIL's.", interpolation,
                  belongs_to + "bilinear"),
      text_option("mean", "R,G,B", "Subtracted from pixels, which run from 0 to 1; one number for all channels.", mean,
                  belongs_to + "0.485,0.456,0.406"),
      text_option("std", "R,G,B", "What they are divided by after that.", stddev, belongs_to + "0.229,0.224,0.225"),
  };
}
Option aux_heads_option(bool& field) {
  return on_off_option("aux-heads", "With the auxiliary classifiers of googlenet and inception_v3, which training alone uses.",
                       field);
}
Option allreduce_option(std::string& field) {
  return text_option(
      "allreduce", "auto|shm|ring|halving-doubling|hierarchical|mpi|ps|none",
      "How gradients are summed; ps: by parameter servers; none: each rank trains alone. By size: ring:0-64K;mpi:64K-max.",
      field);
}

/// Of --optimizer.
std::vector<Option> optimizer_options(TrainConfig& c) {
  return {
      on_off_option("rate-in-velocity",
                    "Of sgd, nesterov: v = momentum·v + rate·g; w = w − v. Off: v = momentum·v + g; w = w − rate·v.",
                    c.rate_in_velocity),
      on_off_option("momentum-correction",
                    "With --rate-in-velocity on: the momentum is multiplied by the rate over that of the step before.",
                    c.momentum_correction),
      text_option("rmsprop-form", "torch|tensorflow",
                  "torch: v += g/(√s + ε), s from 0; tensorflow: v += rate·g/√(s + ε), s from 1.", c.rmsprop_form, "torch"),
      number_option("rmsprop-alpha", "Of rmsprop: what an average of squares keeps in a step, 0 to below 1.", c.rmsprop_alpha,
                    "torch 0.99, tensorflow 0.9"),
      number_option("beta1", "Of adamw, lamb: what an average of gradients keeps in a step, 0 to below 1.", c.beta1, "0.9"),
      number_option("beta2", "Of adamw, lamb: what an average of squares keeps in a step, 0 to below 1.", c.beta2, "0.999"),
      number_option("epsilon", "Of rmsprop, adamw, lamb: what keeps roots from 0.", c.epsilon,
                    "1e-8; lamb 1e-6, rmsprop as tensorflow 1e-10"),
      number_option("trust-coefficient", "Of lars: a slot's rate is multiplied by this · ‖w‖ / (‖g‖ + decay · ‖w‖).",
                    c.trust_coefficient, "0.001"),
      on_off_option("adapt-norms", "Of lars, lamb: batch-norm and biases are scaled by their norms, and decay, as the weights.",
                    c.adapts_norms),
      number_option("clip-norm", "Gradients are scaled down to this norm of all of them together.", c.clip_norm, "none"),
  };
}

/// Of --allreduce ps.
std::vector<Option> server_options(TrainConfig& c) {
  return {
      whole_option("parameter-servers", "Ranks that serve and do not train, spread over the nodes.", 0, c.parameter_servers,
                   "every rank does both"),
      text_option("ps-mode", "sync|backup|async",
                  "Updates from the gradients of all workers; of the first that come; of each by itself.", c.ps_mode),
      whole_option("backup-workers", "Of --ps-mode backup: gradients of a step that are not waited for.", 1, c.backup_workers,
                   "1"),
      whole_option("max-staleness", "Of --ps-mode async: steps that a worker may be ahead of the slowest, up to 20.", 0,
                   c.max_staleness, "4"),
  };
}

Option mixed_cpus_option(std::string& field) {
  return text_option("mixed-cpus", "refuse|allow",
                     "Ranks on CPUs with different instructions; allowed, the bits of a run depend on which rank runs where.",
                     field);
}

Option stall_timeout_option(double& field) {
  return number_option("stall-timeout",
                       "Seconds by which ranks may keep each other waiting before all of them say who is missing and end.",
                       field);
}

Option data_timeout_option(double& field) {
  return number_option("data-timeout",
                       "Seconds for which ranks wait for an image that is read, or a file that is saved, before all end.",
                       field);
}

std::vector<Option> placement_options(int& threads, int& comm_cores, std::string& bind, int& workers, int& ranks_per_node) {
  return {
      whole_option("threads", "Compute threads of a rank.", 1, threads, "one per core, or OMP_NUM_THREADS"),
      whole_option("comm-cores", "Cores of a rank reserved for the exchange.", 0, comm_cores,
                   "1 from 16 cores a rank, between hosts; else 0"),
      text_option("bind", "auto|numa|socket|core|none",
                  "To what compute threads are bound; none leaves them to the environment.", bind),
      whole_option("workers", "Loader threads of a rank.", 1, workers, "a quarter of its cores, at most 8"),
      whole_option("ranks-per-node", "Consecutive ranks that count as one node.", 1, ranks_per_node, "those on one machine"),
  };
}

std::vector<Option> picture_options(std::int64_t& resize, std::int64_t& crop, std::int64_t& max_damaged, double& data_timeout_s,
                                    std::int64_t& synthetic_size) {
  return {
      whole_option("resize", "Shorter side before the centre crop, pixels.", 1, resize, "crop·256/224"),
      crop_option(crop),
      whole_option("max-damaged", "Pictures that may be unreadable before the run is refused.", 0, max_damaged),
      data_timeout_option(data_timeout_s),
      whole_option("synthetic-size", "Pictures in an epoch of synthetic data.", 1, synthetic_size),
  };
}

}  // namespace

OptionTable train_table(TrainConfig& c) {
  OptionTable table{.program = "dtrain train",
                    .purpose =
                        "Trains a network on all ranks.\nOne rank: dtrain --data DIR --model resnet18 --out run\n"
                        "Many: mpirun -np 8 --bind-to none dtrain --data DIR --model resnet50 --global-batch 512 --out run"};
  add_group(
      table, "Network",
      {
          text_option("model", "NAME", "Network; `dtrain models` lists them.", c.model),
          whole_option("num-classes", "Classes.", 2, c.num_classes, "as the data set has"),
          text_option("precision", "fp32|bf16|auto",
                      "Type of activations and working weights; auto: bf16 where the CPU has it.", c.precision),
          allow_slow_option(c.allow_slow),
          conv_option(c.conv),
          text_option("fuse", "all|none|NAMES",
                      "Graph optimisations, to measure what each brings: norm-relu,norm-add,norm-pool,norm-concat,conv-relu,"
                      "relu-pool,concat-slices.",
                      c.fuse),
          recompute_option(c.recompute),
          number_option("dropout", "Dropout probability, 0 to below 1.", c.dropout, "the model's"),
          aux_heads_option(c.aux_heads),
          on_off_option("zero-init-gamma", "Start the last batch-norm of residual blocks at 0.", c.zero_init_gamma),
          text_option("init-from", "FILE",
                      "Weights to start from (safetensors): all tensors but the head's must fit, and none be left over.",
                      c.init_from),
          on_off_option("init-partial", "Take from --init-from what fits, leave the rest fresh, and list both.",
                        c.init_partial),
      });
  add_group(table, "Data",
            {
                text_option("data", "DIR|synthetic", "Class folders of pictures, or a directory with train/ and val/.", c.data),
                text_option("data-format", "auto|imagefolder", "How the data is stored.", c.data_format),
                text_option("val-data", "DIR", "Pictures to evaluate on.", c.val_data, "val/, valid/ … or test/ in --data"),
                text_option("augment", "standard|light|none", "Random changes of training pictures.", c.augment,
                            "standard, or light up to 64 pixels"),
                on_off_option("shuffle", "New random order in every epoch.", c.shuffle),
            });
  add_group(table, "Data", picture_options(c.resize, c.crop, c.max_damaged, c.data_timeout_s, c.synthetic_size));
  add_group(table, "Data", preprocessing_options(c.interpolation, c.mean, c.stddev, "that of --init-from, else "));
  add_group(
      table, "Training",
      {
          whole_option("global-batch", "Pictures in a step, all ranks together.", 1, c.global_batch, "32 a rank"),
          whole_option("local-batch", "Pictures of a rank in one micro-batch.", 1, c.local_batch,
                       "the rank's share, at most 64, as memory allows"),
          bn_option(c.bn),
          positive_option("epochs", "Passes over the data; fractions are allowed.", c.epochs, "90 unless --steps"),
          whole_option("steps", "Steps, instead of --epochs.", 1, c.steps, "from --epochs"),
          text_option("optimizer", "sgd|nesterov|rmsprop|lars|adamw|lamb",
                      "How gradients change weights; include/dtrain/optimizer.hpp has the formulas.", c.optimizer),
          number_option("lr", "Peak learning rate, absolute.", c.lr, "from --base-lr"),
          number_option("base-lr", "Peak learning rate per 256 pictures of the global batch.", c.base_lr,
                        "0.1; rmsprop 0.01, adamw, lamb 0.001"),
          text_option("lr-scaling", "linear|sqrt", "How --base-lr grows with the global batch.", c.lr_scaling),
          number_option("momentum", "Of sgd, nesterov, rmsprop and lars, 0 to below 1.", c.momentum, "0.9"),
          number_option("weight-decay", "Of convolution and linear weights; with adamw and lamb it is multiplied by the rate.",
                        c.weight_decay, "1e-4; adamw, lamb 0.01"),
          number_option("ema",
                        "0.5 to below 1: weights w have a moving average, e = F·e + (1 − F)·w, which is evaluated, "
                        "kept as best, and saved as average.safetensors beside last.safetensors with w.",
                        c.ema, "off"),
          number_option("label-smoothing", "0 to below 1.", c.label_smoothing),
          text_option(
              "schedule", "TEXT",
              "constant, step:every=30,gamma=0.1, multistep:at=30/60/80, poly:power=2, poly-published:power=2, cosine, "
              "exp:gamma=0.95, inv:gamma=0.1,power=0.75 or sigmoid:at=45,gamma=0.2; in epochs, over=N those of a decay.",
              c.schedule),
          text_option("weight-decay-schedule", "TEXT",
                      "Curve of the weight decay, as above, or inverse-rate:most=4: it grows as the rate falls.",
                      c.weight_decay_schedule),
          text_option("momentum-schedule", "TEXT", "Curve of the momentum.", c.momentum_schedule),
          number_option("warmup-epochs", "Linear growth of the rate at the start.", c.warmup_epochs),
          number_option("warmup-start-lr", "Rate at step 0 of the warm-up.", c.warmup_start_lr),
          text_option("preset", "NAME",
                      "Published recipe: goyal, surfsara-448, surfsara-cycles, mlperf-lars or finetune, scaled to "
                      "--global-batch and --epochs.",
                      c.preset, "none"),
          text_option("stages", "TEXT",
                      "Stages one behind the other, \"NAME: key=value …; NAME: …\", keys as these options; "
                      "--preset NAME --dry-run prints one. What a stage leaves out, the options say.",
                      c.stages, "one stage, of the options"),
          seed_option("Of weights, order of pictures, augmentation and dropout.", c.seed),
      });
  add_group(table, "Optimizer", optimizer_options(c));
  add_group(
      table, "Exchange",
      {
          allreduce_option(c.allreduce),
          number_option("fusion-mb", "Gradients that travel together, MiB.", c.fusion_mb,
                        "4 to 64, from a cost model; with ps 0.5"),
          text_option("wire-dtype", "fp32|bf16", "Type in which gradients travel between ranks; sums are fp32.", c.wire_dtype),
          text_option("overlap", "on|forward|backward|off",
                      "When gradients travel: while backward runs, or into the next forward too; on: whichever waits less.",
                      c.overlap),
          text_option("shared-update", "auto|on|off",
                      "Ranks of a node have one copy of weights and momentum, and each updates its share of them.",
                      c.shared_update),
          text_option("check-replicas", "N|Fepoch|off",
                      "Steps or epochs between comparisons of all ranks' weights, bit by bit; also before each save.",
                      c.check_replicas),
          stall_timeout_option(c.stall_timeout_s),
      });
  add_group(table, "Parameter servers", server_options(c));
  add_group(table, "Placement", placement_options(c.threads, c.comm_cores, c.bind, c.workers, c.ranks_per_node));
  add_group(table, "Placement", {mixed_cpus_option(c.mixed_cpus)});
  add_group(
      table, "Output",
      {
          text_option("out", "DIR", "Weights, checkpoints, metrics, report and log go here.", c.out, "nothing is saved"),
          text_option("resume", "auto|PATH|off", "Continue from --out's newest checkpoint, or from this one.", c.resume),
          text_option("checkpoint-every", "N|Fepoch|off", "Steps or epochs between checkpoints: 500, 1epoch, 0.5epoch.",
                      c.checkpoint_every),
          text_option("eval-every", "N|Fepoch|off", "Steps or epochs between evaluations.", c.eval_every),
          whole_option("keep-checkpoints", "Newest checkpoints that are kept.", 1, c.keep_checkpoints),
          whole_option("log-every", "Steps between log lines.", 1, c.log_every),
          text_option("metrics", "FILE.jsonl", "One line a step.", c.metrics, "DIR/metrics.jsonl"),
          text_option("report", "FILE.json", "One object at the end.", c.report, "DIR/report.json"),
          text_option("profile", "FILE.json", "Where a step's time goes, by layer; a summary at the end.", c.profile, "none"),
      });
  Option dry_run = text_option("dry-run", "FILE.svg",
                               "Print the stages of the run, with rates and times, draw them into the file (schedule.svg when "
                               "none is named), and do not train.",
                               c.dry_run, "train");
  dry_run.bare_value = "schedule.svg";
  add_group(table, "Looking ahead",
            {std::move(dry_run), number_option("images-per-s", "Speed of all ranks together, for the times of --dry-run.",
                                               c.images_per_s, "measured in a few steps")});
  return table;
}

OptionTable eval_table(EvalConfig& c) {
  OptionTable table{.program = "dtrain eval",
                    .purpose = "Evaluates weights on pictures: loss, top-1 and top-5, exact over all ranks."};
  add_group(
      table, "Network",
      {
          text_option("model", "NAME", "Network; `dtrain models` lists them.", c.model, "that of the weights"),
          text_option("weights", "FILE|A,B,C",
                      "Weights (safetensors); several with commas between them: each, and the mean of their probabilities.",
                      c.weights, "required"),
          whole_option("num-classes", "Outputs of the network.", 2, c.num_classes, "as the weights have"),
          text_option("precision", "fp32|bf16|auto",
                      "Type of activations and working weights; auto: bf16 where the CPU has it.", c.precision),
          allow_slow_option(c.allow_slow),
          conv_option(c.conv),
      });
  add_group(table, "Data",
            {
                text_option("data", "DIR", "Class folders of pictures, or a directory with val/ or test/.", c.data, "required"),
                text_option("data-format", "auto|imagefolder", "How the data is stored.", c.data_format),
                text_option("class-indices", "FILE", "Lines \"folder index\": which of the network's classes each folder is.",
                            c.class_indices, "by the names in the weights"),
            });
  add_group(table, "Data", picture_options(c.resize, c.crop, c.max_damaged, c.data_timeout_s, c.synthetic_size));
  add_group(table, "Data", preprocessing_options(c.interpolation, c.mean, c.stddev, "that of the weights, else "));
  add_group(table, "Data",
            {
                whole_option("global-batch", "Pictures in a step, all ranks together.", 1, c.global_batch, "32 a rank"),
                whole_option("local-batch", "Pictures of a rank in one forward pass.", 1, c.local_batch,
                             "the rank's share, at most 64, as memory allows"),
            });
  std::vector<Option> placement = placement_options(c.threads, c.comm_cores, c.bind, c.workers, c.ranks_per_node);
  std::erase_if(placement, [](const Option& option) { return option.name == "comm-cores"; });  // nothing is exchanged
  add_group(table, "Placement", std::move(placement));
  add_group(table, "Placement", {mixed_cpus_option(c.mixed_cpus), stall_timeout_option(c.stall_timeout_s)});
  add_group(
      table, "Output",
      {text_option("report", "FILE.json", "One object at the end.", c.report, "none"),
       text_option(
           "logits", "FILE.safetensors",
           "Logits of the readable images, in the order of the data set, and their numbers there; of one file of weights.",
           c.logits, "none"),
       text_option("confusion", "FILE.csv", "Pictures by their class (rows) and the one they are taken for (columns).",
                   c.confusion, "none"),
       switch_option("per-class", "Top-1 of every class, printed and in the report.", c.per_class)});
  return table;
}

OptionTable bench_table(BenchConfig& c) {
  TrainConfig& shared = c.training;
  OptionTable table{.program = "dtrain bench",
                    .purpose =
                        "Measures training speed on synthetic pictures, for every combination of networks, batches and "
                        "precisions.\nUnder mpirun: of all ranks together."};
  add_group(table, "Combinations",
            {
                text_option("models", "A,B", "Networks; `dtrain models` lists them.", c.models),
                text_option("batches", "N,M", "Pictures of a rank in a step.", c.batches),
                text_option("precision", "fp32|bf16|fp32,bf16", "Types of activations and working weights.", c.precision),
                allow_slow_option(shared.allow_slow),
            });
  add_group(table, "Steps",
            {
                whole_option("steps", "Measured steps.", 1, c.steps),
                whole_option("warmup", "Steps before them.", 0, c.warmup),
                crop_option(shared.crop),
                conv_option(shared.conv),
                recompute_option(shared.recompute),
                allreduce_option(shared.allreduce),
                stall_timeout_option(shared.stall_timeout_s),
            });
  add_group(table, "Parameter servers", server_options(shared));
  add_group(table, "Placement",
            placement_options(shared.threads, shared.comm_cores, shared.bind, shared.workers, shared.ranks_per_node));
  add_group(table, "Placement", {mixed_cpus_option(shared.mixed_cpus)});
  add_group(table, "Output",
            {
                text_option("json", "FILE", "All figures, as one object.", c.json, "none"),
                text_option("csv", "FILE", "All figures, a line for each combination.", c.csv, "none"),
            });
  return table;
}

OptionTable init_table(InitConfig& c) {
  OptionTable table{.program = "dtrain init",
                    .purpose = "Writes fresh weights as a safetensors file with torchvision's tensor names."};
  add_group(table, "Network",
            {
                text_option("model", "NAME", "Network; `dtrain models` lists them.", c.model),
                whole_option("num-classes", "Classes.", 2, c.num_classes, "the model's"),
                aux_heads_option(c.aux_heads),
                on_off_option("zero-init-gamma", "Start the last batch-norm of residual blocks at 0.", c.zero_init_gamma),
                seed_option("Equal seeds give equal weights.", c.seed),
                text_option("out", "FILE", "Where to write (safetensors); a file that is there stays.", c.out, "required"),
            });
  return table;
}

OptionTable models_table(ModelsConfig& c) {
  OptionTable table{.program = "dtrain models",
                    .purpose = "Lists the networks that --model knows, or plans the memory of a rank that trains one.",
                    .options = {},
                    .positional = {.label = "[NAME]", .field = &c.name, .is_required = false}};
  add_group(table, "Plan",
            {
                text_option("plan", "NAME", "Network to plan the memory for; nothing of it is allocated.", c.plan, "list all"),
                whole_option("local-batch", "Pictures of a rank in one micro-batch.", 1, c.local_batch),
                whole_option("num-classes", "Classes.", 2, c.num_classes, "the model's"),
                crop_option(c.crop),
                aux_heads_option(c.aux_heads),
                text_option("precision", "fp32|bf16|auto", "Type of activations and working weights.", c.precision),
                conv_option(c.conv),
                recompute_option(c.recompute),
            });
  add_group(table, "Output", {switch_option("json", "As JSON.", c.json)});
  return table;
}

OptionTable topo_table(TopoConfig& c) {
  OptionTable table{.program = "dtrain topo",
                    .purpose = "Prints where the threads of every rank would run. Under mpirun: of all ranks, node by node."};
  add_group(table, "Placement", placement_options(c.threads, c.comm_cores, c.bind, c.workers, c.ranks_per_node));
  return table;
}

OptionTable make_demo_table(MakeDemoConfig& c) {
  OptionTable table{.program = "dtrain make-demo",
                    .purpose = "Renders a small data set of JPEG files: DIR/train and DIR/val with ten classes.",
                    .options = {},
                    .positional = {.label = "DIR", .field = &c.directory}};
  add_group(
      table, "Data set",
      {
          whole_option("train-per-class", "Training pictures of each class.", 1, c.options.train_per_class),
          whole_option("val-per-class", "Validation pictures of each class.", 1, c.options.val_per_class),
          seed_option("Equal seeds give equal pictures.", c.options.seed),
          switch_option("force", "Replace the data set of an earlier make-demo in DIR; refused where anything else lies there.",
                        c.force),
      });
  return table;
}

OptionTable inspect_table(InspectConfig& c) {
  return {.program = "dtrain inspect",
          .purpose = "Shows what a weight file or checkpoint (safetensors) holds, and whether it is undamaged.",
          .options = {},
          .positional = {.label = "FILE", .field = &c.file}};
}

OptionTable plot_table(PlotConfig& c) {
  OptionTable table{.program = "dtrain plot",
                    .purpose =
                        "Draws loss, accuracy and learning rate of a run over its epochs, from its metrics; also of one "
                        "that is under way. Several runs: in one drawing.",
                    .options = {},
                    .positional = {.label = "RUN [RUN…]", .fields = &c.runs}};
  add_group(table, "Output",
            {text_option("out", "FILE.svg", "The drawing.", c.out, "plot.svg in the run's directory; of several runs, here"),
             text_option("csv", "FILE.csv", "A row an epoch.", c.csv, "named as the drawing")});
  return table;
}

}  // namespace dtrain
