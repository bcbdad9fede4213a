// The table of habits: PyTorch's examples and torchvision's references, timm, Horovod, tf_cnn_benchmarks, Keras, Lightning.
#include "launch/habits.hpp"

#include <algorithm>
#include <cctype>
#include <span>

namespace dtrain {
namespace {

struct Habit {
  std::vector<std::string_view> names;  ///< lower case, hyphens, no dashes in front
  std::string_view option;              ///< here; the row counts where the command has it; empty: everywhere
  std::string_view answer;
};

/// The first row that has a name, and whose option the command has, answers it.
std::span<const Habit> habits() {
  static const std::vector<Habit> rows{
      // Batches
      {{"batch-size", "b", "batch", "batchsize", "bs", "train-batch-size", "total-batch-size"},
       "global-batch",
       "--global-batch N, which counts the images of all ranks together (--local-batch N: of one rank at once)"},
      {{"batch-size", "b", "batch", "batchsize", "bs", "global-batch"},
       "batches",
       "--batches N, images of each rank in a step"},
      {{"batch-size", "b", "batch", "batchsize", "bs", "global-batch"}, "local-batch", "--local-batch N, images of one rank"},
      {{"val-batch-size", "eval-batch-size", "test-batch-size", "validation-batch-size", "vb"},
       "local-batch",
       "--local-batch N, which is also the most that a rank evaluates at once"},
      {{"micro-batch", "micro-batch-size", "per-device-train-batch-size", "batch-per-gpu", "batch-per-rank", "accum-iter",
        "accumulate", "grad-accum", "grad-accum-steps", "gradient-accumulation", "gradient-accumulation-steps",
        "batches-per-allreduce", "accumulate-grad-batches"},
       "local-batch",
       "--local-batch N, images of a rank at once: gradients are added up until --global-batch N of all ranks are done"},
      // Network and weights
      {{"arch", "a", "network", "net", "architecture", "backbone"}, "model", "--model NAME; `dtrain models` lists the names"},
      {{"arch", "a", "model", "network", "net"}, "models", "--models NAME,NAME; `dtrain models` lists the names"},
      {{"classes", "nclasses", "nb-classes", "n-classes", "num-class", "num-labels"}, "num-classes", "--num-classes N"},
      {{"pretrained", "weights", "finetune", "fine-tune", "load", "load-weights", "initial-checkpoint", "pretrained-weights",
        "checkpoint-path", "init-checkpoint", "from-pretrained"},
       "init-from",
       "--init-from FILE.safetensors, weights to begin with"},
      {{"pretrained", "checkpoint", "ckpt", "load", "load-weights", "resume", "init-from", "initial-checkpoint",
        "checkpoint-path"},
       "weights",
       "--weights FILE.safetensors"},
      {{"checkpoint", "ckpt", "restore", "continue", "resume-from", "resume-from-checkpoint", "auto-resume", "start-epoch"},
       "resume",
       "--resume auto for the newest checkpoint of --out, or --resume FILE"},
      {{"evaluate", "e", "eval", "eval-only", "test-only", "validate", "test", "inference"},
       "",
       "the command: dtrain eval --data DIR --model NAME --weights FILE"},
      // Data
      {{"data-dir", "data-path", "dataset", "dataset-dir", "root", "train-dir", "train-data", "traindir", "datadir", "d",
        "data-root", "imagenet", "input", "dir"},
       "data",
       "--data DIR, a directory with train/ and val/, or of class folders"},
      {{"val-dir", "valdir", "val", "val-path", "validation-dir", "validation-data", "valid-dir", "test-dir", "eval-data"},
       "val-data",
       "--val-data DIR"},
      {{"val-dir", "valdir", "val", "val-data", "validation-dir", "test-dir"}, "data", "--data DIR"},
      {{"input-size", "img-size", "image-size", "imgsz", "imsize", "train-crop-size", "val-crop-size", "crop-size",
        "resolution", "size", "picture-size"},
       "crop",
       "--crop N, the side of the image that the network sees, in pixels"},
      {{"resize-size", "val-resize-size", "resize-shorter", "scale-size"},
       "resize",
       "--resize N, the shorter side before the crop"},
      {{"j", "num-workers", "jobs", "n-workers", "dataloader-workers", "loader-threads", "num-preprocess-threads",
        "data-workers", "nthreads-loader", "worker"},
       "workers",
       "--workers N, loader threads of a rank"},
      {{"no-shuffle"}, "shuffle", "--shuffle off"},
      {{"auto-augment", "autoaugment", "aa", "augmentation", "data-augmentation", "no-aug", "no-augmentation", "distortions"},
       "augment",
       "--augment standard, light or none"},
      // Length
      {{"num-epochs", "n-epochs", "max-epochs", "epoch", "nb-epochs", "train-epochs"}, "epochs", "--epochs F"},
      {{"num-batches", "num-steps", "max-steps", "train-steps", "iterations", "iters", "max-iter", "num-iters", "num-iter"},
       "steps",
       "--steps N"},
      {{"num-warmup-batches", "warmup-steps", "warmup-batches", "num-warmup"},
       "warmup",
       "--warmup N, steps that are not measured"},
      // Rates
      {{"learning-rate", "init-learning-rate", "initial-lr", "init-lr", "eta", "max-lr", "peak-lr", "learningrate"},
       "lr",
       "--lr F, the rate itself, or --base-lr F, per 256 images of the global batch"},
      {{"lr-scheduler", "lr-schedule", "sched", "scheduler", "lr-policy", "lr-decay", "lr-scheduler-type", "lr-adjust"},
       "schedule",
       "--schedule cosine, or step:every=30, multistep:at=30/60/80, poly:power=2, constant, …"},
      {{"lr-step-size", "step-size", "lr-gamma", "gamma", "decay-epochs", "decay-rate", "decay-milestones", "milestones",
        "lr-milestones", "lr-steps", "lr-step", "lr-decay-epochs", "lr-epochs", "num-epochs-per-decay",
        "learning-rate-decay-factor"},
       "schedule",
       "--schedule step:every=30, or multistep:at=30/60/80"},
      {{"warmup", "lr-warmup-epochs", "warmup-epoch", "num-learning-rate-warmup-epochs", "warmup-steps", "lr-warmup"},
       "warmup-epochs",
       "--warmup-epochs F"},
      {{"warmup-lr", "warmup-lr-init", "lr-warmup-decay", "warmup-start", "warmup-init-lr"},
       "warmup-start-lr",
       "--warmup-start-lr F"},
      // Optimizer
      {{"opt", "optim", "optimizer-name", "solver"}, "optimizer", "--optimizer sgd, nesterov, rmsprop, lars, adamw or lamb"},
      {{"nesterov", "use-nesterov"}, "optimizer", "--optimizer nesterov"},
      {{"wd", "l2", "weightdecay", "decay", "weight-decay-rate", "l2-reg"}, "weight-decay", "--weight-decay F"},
      {{"mom", "m", "sgd-momentum"}, "momentum", "--momentum F"},
      {{"opt-eps", "eps", "adam-epsilon"}, "epsilon", "--epsilon F"},
      {{"opt-betas", "betas", "adam-beta1"}, "beta1", "--beta1 F --beta2 F"},
      {{"clip-grad", "grad-clip", "clip-grad-norm", "max-norm", "max-grad-norm", "gradient-clip-val", "gradient-clip"},
       "clip-norm",
       "--clip-norm F"},
      {{"smoothing", "ls", "label-smooth"}, "label-smoothing", "--label-smoothing F"},
      {{"drop", "drop-rate", "dropout-rate"}, "dropout", "--dropout F"},
      {{"model-ema", "ema-decay", "model-ema-decay", "use-ema"}, "ema", "--ema F, such as 0.999"},
      {{"sync-bn", "syncbn", "sync-batchnorm", "sync-batch-norm"}, "bn", "--bn sync"},
      {{"random-seed", "manual-seed", "s", "manualseed", "tf-random-seed"}, "seed", "--seed N"},
      // Machine
      {{"amp", "native-amp", "apex-amp", "fp16", "use-fp16", "bf16", "half", "mixed-precision", "dtype", "amp-dtype",
        "float16"},
       "precision",
       "--precision bf16, or auto, which takes it where the CPU has it (there is no fp16)"},
      {{"gpu", "gpus", "gpu-id", "gpu-ids", "num-gpus", "device", "devices", "cuda", "no-cuda", "use-cuda", "use-gpu", "mps",
        "accelerator", "local-parameter-device"},
       "",
       "nothing in its place: dtrain computes on CPUs, on all cores of a rank (mpirun -np N starts N ranks)"},
      {{"world-size",  "rank",
        "local-rank",  "nproc-per-node",
        "nproc",       "np",
        "n",           "nnodes",
        "nodes",       "num-nodes",
        "node-rank",   "ranks",
        "distributed", "multiprocessing-distributed",
        "dist-url",    "dist-backend",
        "backend",     "strategy",
        "master-addr", "hosts",
        "num-ranks",   "master-port"},
       "",
       "nothing in its place: mpirun -np N dtrain … starts N ranks (launch/run.sh --hosts … over several machines)"},
      {{"threads-per-rank", "num-threads", "nthreads", "t", "omp-num-threads", "num-intra-threads", "intra-op-threads",
        "intra-op-parallelism-threads", "cpus", "cores"},
       "threads",
       "--threads N, compute threads of a rank"},
      {{"variable-update", "kv-store", "horovod-device", "all-reduce-spec", "use-adasum"},
       "allreduce",
       "--allreduce auto, or an algorithm"},
      {{"fusion-threshold", "fusion-threshold-mb", "bucket-cap-mb", "bucket-size"}, "fusion-mb", "--fusion-mb F"},
      {{"fp16-allreduce", "compression", "gradient-compression"}, "wire-dtype", "--wire-dtype bf16"},
      {{"channels-last", "torchcompile", "torchscript", "compile", "jit", "pin-mem", "pin-memory", "cudnn-benchmark",
        "deterministic", "use-deterministic-algorithms"},
       "",
       "nothing in its place: dtrain compiles the network, chooses layouts, and gives the same bits every time by itself"},
      // Output
      {{"output", "output-dir", "o", "save", "save-dir", "save-path", "logdir", "log-dir", "workdir", "work-dir",
        "checkpoint-dir", "model-dir", "experiment", "exp", "name", "project", "run-dir", "snapshot", "outdir"},
       "out",
       "--out DIR, where weights, checkpoints, metrics, report and log go"},
      {{"output", "output-dir", "o", "out", "save", "results-file", "results", "results-dir", "json"},
       "report",
       "--report FILE.json"},
      {{"print-freq", "p", "display-every", "log-interval", "log-frequency", "log-freq", "logging-steps", "log-every-n-steps"},
       "log-every",
       "--log-every N, in steps"},
      {{"save-freq", "save-every", "save-interval", "checkpoint-freq", "checkpoint-interval", "save-steps", "snapshot-every"},
       "checkpoint-every",
       "--checkpoint-every N (steps) or 1epoch"},
      {{"checkpoint-hist", "save-total-limit", "max-ckpts-to-keep"}, "keep-checkpoints", "--keep-checkpoints N"},
      {{"eval-freq", "val-freq", "eval-interval", "eval-frequency", "val-interval", "check-val-every-n-epoch", "eval-steps",
        "eval-during-training-every-n-steps"},
       "eval-every",
       "--eval-every N (steps) or 1epoch"},
      {{"tensorboard", "tb", "wandb", "log-wandb", "log-tensorboard", "summary-dir", "plot"},
       "metrics",
       "--metrics FILE.jsonl, a line a step (OUT/metrics.jsonl is written anyway); `dtrain plot OUT` draws it"},
      {{"config", "cfg", "c", "config-file", "conf", "yaml"}, "", "the options themselves on the command line"},
      {{"version", "v"}, "", "dtrain --version"},
  };
  return rows;
}

struct CommandHabit {
  std::vector<std::string_view> names;
  std::string_view line;
};

std::span<const CommandHabit> command_habits() {
  static const std::vector<CommandHabit> rows{
      {{"test", "validate", "val", "evaluate", "evaluation", "score", "accuracy"},
       "dtrain eval --data DIR --model NAME --weights FILE"},
      {{"predict", "infer", "inference", "classify"},
       "dtrain eval --data DIR --model NAME --weights FILE --logits OUT.safetensors"},
      {{"fit", "run", "training", "start", "learn"}, "dtrain train --data DIR --model NAME"},
      {{"finetune", "fine-tune", "tune", "transfer"},
       "dtrain train --data DIR --model NAME --init-from FILE --preset finetune"},
      {{"resume", "continue", "restore"}, "the line that began the run, with --resume auto"},
      {{"benchmark", "speed", "perf"}, "dtrain bench"},
      {{"list", "list-models", "model", "networks", "archs", "zoo"}, "dtrain models"},
      {{"info", "show", "dump", "summary", "cat", "describe"}, "dtrain inspect FILE"},
      {{"draw", "visualize", "visualise", "graph", "curves", "tensorboard", "metrics"}, "dtrain plot RUN"},
      {{"demo", "makedemo", "example", "download", "prepare"}, "dtrain make-demo DIR"},
      {{"topology", "lstopo", "hwloc", "affinity", "binding"}, "dtrain topo"},
  };
  return rows;
}

/// "--Batch_Size" → "batch-size"; "-j4" → "j".
std::string habitual_name(std::string_view written) {
  const std::size_t dashes = std::min(written.find_first_not_of('-'), written.size());
  std::string name(written.substr(dashes));
  std::ranges::transform(name, name.begin(), [](char letter) {
    return letter == '_' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
  });
  const bool has_value_attached = dashes == 1 && name.size() > 1 && std::isalpha(static_cast<unsigned char>(name[0])) != 0 &&
                                  std::isdigit(static_cast<unsigned char>(name[1])) != 0;
  return has_value_attached ? name.substr(0, 1) : name;
}

bool has(const std::vector<std::string>& options, std::string_view name) {
  return std::ranges::find(options, name) != options.end();
}

}  // namespace

std::string habitual_option(std::string_view written, const std::vector<std::string>& options) {
  const std::string name = habitual_name(written);
  if (has(options, name)) return "--" + name;
  for (const Habit& habit : habits()) {
    if (std::ranges::find(habit.names, name) == habit.names.end()) continue;
    if (habit.option.empty() || has(options, habit.option)) return std::string(habit.answer);
  }
  // Python's argparse takes the beginning of a name for the whole, if it is of one name only: "momentum", not all that begin
  // so.
  std::vector<std::string> longer;
  std::ranges::copy_if(options, std::back_inserter(longer),
                       [&](const std::string& option) { return option.starts_with(name); });
  if (name.size() < 3 || longer.empty()) return "";
  const std::string shortest = *std::ranges::min_element(longer, {}, &std::string::size);
  const bool is_one = std::ranges::all_of(longer, [&](const std::string& option) { return option.starts_with(shortest); });
  return is_one ? "--" + shortest : "";
}

std::string habitual_command(const std::string& word, bool is_directory) {
  if (is_directory) return "dtrain train --data " + word;
  const std::string name = habitual_name(word);
  for (const CommandHabit& habit : command_habits()) {
    if (std::ranges::find(habit.names, name) != habit.names.end()) return std::string(habit.line);
  }
  return "";
}

}  // namespace dtrain
