"""Runs the dtrain binary and reads what it writes: the only place here that knows its command line.

Failures end with the command, its exit code and the end of its output.
"""

import json
import os
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

import safetensors_io

REPOSITORY = Path(__file__).resolve().parents[2]
DEFAULT_BINARY = REPOSITORY / "build" / "release" / "launch" / "dtrain"
BAD_CONFIGURATION = 2  # dtrain's exit code for it


class CommandFailed(Exception):
    """A command ended with another exit code than 0, ran too long, or did not write what it should."""


class PrecisionRefused(CommandFailed):
    """This CPU does not compute in the precision that was asked for."""


def find_binary(argument=None):
    """The dtrain to run: the argument, $DTRAIN, or the release build of this checkout."""
    binary = Path(argument or os.environ.get("DTRAIN") or DEFAULT_BINARY).resolve()
    if not os.access(binary, os.X_OK):
        raise SystemExit(f"{binary}: no executable there; build it, or name another with --dtrain or $DTRAIN")
    return binary


def clean_environment(threads=None):
    """The caller's environment without OpenMP settings (each program places its own threads), or with a thread count."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    if os.geteuid() == 0:  # Open MPI refuses root without both
        environment |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    return environment


def run(command, timeout_s=1800, environment=None):
    """Runs a command to its end and returns its standard output."""
    command = [str(part) for part in command]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s,
                              env=environment or clean_environment())
    except subprocess.TimeoutExpired as error:
        raise CommandFailed(f"{shlex.join(command)}: not done after {timeout_s} s") from error
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        refused = done.returncode == BAD_CONFIGURATION and "--precision bf16: expected a CPU" in tail
        raise (PrecisionRefused if refused else CommandFailed)(f"{shlex.join(command)}: exit code {done.returncode}\n{tail}")
    return done.stdout


def read_report(path):
    if not Path(path).is_file():
        raise CommandFailed(f"{path}: expected the report of the run, found no file")
    return json.loads(Path(path).read_text())


def read_losses(path, steps):
    """Losses of all steps from a metrics file, in order: what training minimised, with that of auxiliary heads."""
    if not Path(path).is_file():
        raise CommandFailed(f"{path}: expected the metrics of the run, found no file")
    lines = [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
    losses = [line["loss"] + line.get("aux_loss", 0.0) for line in lines if "step" in line and "loss" in line]
    if len(losses) != steps:
        raise CommandFailed(f"{path}: expected the losses of {steps} steps, found {len(losses)}")
    return losses


@dataclass(frozen=True)
class Task:
    """A network and the pictures it meets, as files."""
    model: str
    num_classes: int
    size: int
    pictures: Path  # holds train/<class>/*.png
    batch: int
    has_dropout: bool = False  # the network has layers of it: training switches them off
    precision: str = "fp32"
    aux_heads: bool = False  # auxiliary classifiers, in training

    def aux_options(self):
        return ["--aux-heads", "on"] if self.aux_heads else []

    def options(self):
        return ["--model", self.model, "--num-classes", self.num_classes, "--precision", self.precision,
                "--resize", self.size, "--crop", self.size]


@dataclass(frozen=True)
class Rates:
    lr: float
    momentum: float
    weight_decay: float


class Dtrain:
    """The binary on one rank, each run in a directory of its own below `work`."""

    def __init__(self, binary, work, threads):
        self.binary, self.work, self.threads = binary, Path(work), threads
        self.runs = 0

    def init(self, task, seed):
        """Writes fresh weights and returns their path."""
        weights = self._directory("init") / "weights.safetensors"
        run([self.binary, "init", "--model", task.model, "--num-classes", task.num_classes, *task.aux_options(), "--seed", seed,
             "--out", weights])
        return weights

    def train(self, task, weights, steps, rates, conv):
        """Trains from `weights` on the whole set each step; returns (losses, path of the weights afterwards)."""
        out = self._directory("train")
        metrics = out / "metrics.jsonl"
        no_dropout = ["--dropout", 0] if task.has_dropout else []
        # One save, behind the last step; there are no validation pictures.
        run([self.binary, *task.options(), *task.aux_options(), "--data", task.pictures, "--augment", "none", "--shuffle", "off",
             "--global-batch", task.batch, "--steps", steps, "--optimizer", "sgd", "--lr", rates.lr,
             "--momentum", rates.momentum, "--weight-decay", rates.weight_decay, "--schedule", "constant",
             "--init-from", weights, "--conv", conv, "--threads", self.threads, "--seed", 1, *no_dropout, "--out", out,
             "--checkpoint-every", steps, "--metrics", metrics])
        return read_losses(metrics, steps), out / "last.safetensors"

    def eval_logits(self, task, weights, conv):
        """Logits (n, classes) in data set order, batch-norm on running statistics."""
        file = self._directory("eval") / "logits.safetensors"
        # The folders are as many of the network's classes as there are pictures for, in the folders' order.
        indices = file.with_name("class_indices")
        folders = sorted(folder.name for folder in (task.pictures / "train").iterdir())
        indices.write_text("".join(f"{folder} {index}\n" for index, folder in enumerate(folders)))
        run([self.binary, "eval", *task.options(), "--data", task.pictures / "train", "--weights", weights,
             "--class-indices", indices,
             "--conv", conv, "--threads", self.threads, "--logits", file])
        tensors, _ = safetensors_io.read(file)
        if "logits" not in tensors:
            raise CommandFailed(f"{file}: expected a tensor \"logits\", found {list(tensors)}")
        return tensors["logits"]

    def _directory(self, kind):
        self.runs += 1
        path = self.work / f"{self.runs:02}-{kind}"
        path.mkdir(parents=True)
        return path
