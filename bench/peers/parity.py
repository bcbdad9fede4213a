"""Holds dtrain against PyTorch on equal weights and pictures: loss, gradient, statistics, logits, later losses, weight files.

    parity.py resnet18 [--dtrain PATH] [--threads N]

Prints each figure with its limit; exit code 1 when a limit is broken. float32 gradients of these networks at random
weights are ill-conditioned (PyTorch's own is percents away from its float64 one), so the gradient is judged by its
distance to float64, against the distance of PyTorch's float32 steps, and later losses by the spread of perturbed runs.
A step in bf16 is judged beside PyTorch's under autocast.
"""

import argparse
import contextlib
import math
import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import gradients
import networks
import pictures
import reference
import safetensors_io
from dtrain_command import CommandFailed, Dtrain, PrecisionRefused, Rates, Task, find_binary

LOSS_LIMIT = 1e-4     # relative, first step
LOGITS_LIMIT = 1e-4   # largest difference over largest logit
STATISTICS_LIMIT = 1e-3  # of one batch's contribution; a biased variance would be 2.6e-3 off where a channel has 8·7·7 values
SPREAD_FACTOR = 3.0   # later losses: times the spread of perturbed runs
SPREAD_FLOOR = 1e-4   # relative
GRADIENT_FACTOR = {"direct": 3.0, "auto": 10.0}  # times PyTorch float32's distance to float64; Winograd rounds 10x coarser
TENSOR_FACTOR = 10.0  # for a single tensor's gradient, whose distance varies more than that of all …
TENSOR_FLOOR = 0.1    # … and relative; a forgotten, misplaced or unscaled tensor is off by 1
COSINE_LIMIT = 0.97
BF16_LOSS_LIMIT = 0.01     # relative
BF16_COSINE_MARGIN = 0.03  # below the lowest of PyTorch's
BF16_DISTANCE_FACTOR = 1.5  # times the furthest of PyTorch's: a cosine does not see a wrong scale
BF16_TENSOR_FACTOR = 3.0    # the same for a single tensor's gradient
FIRST_STEP = Rates(lr=1.0, momentum=0.0, weight_decay=0.0)  # the weights move by exactly the gradient


@dataclass(frozen=True)
class Check:
    """A figure that must be at most (or at least) its limit."""
    name: str
    figure: float
    limit: float
    at_least: bool = False
    note: str = ""

    def passed(self):
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit  # NaN passes neither


def failed(name, reason):
    return Check(name, math.nan, 0.0, note=str(reason))


def judge_loss(name, loss, exact, limit=LOSS_LIMIT):
    return Check(name, abs(loss - exact) / abs(exact), limit, note=f"{loss:.7g} against {exact:.7g}")


def judge_gradient(known, after, conv):
    """All gradients as differences of float32 weights, against the float64 gradient: as one vector, then one by one."""
    ours = gradients.compare(gradients.taken_off(known.weights, after), known.exact.gradient)
    peers = [peer.gradient for peer in known.peers]
    distances = sorted(peer.distance() for peer in peers)
    title = f"gradient, --conv {conv}"
    checks = [Check(f"{title}: distance to float64", ours.distance(), GRADIENT_FACTOR[conv] * distances[-1],
                    note=f"PyTorch float32: {distances[0]:.3g} … {distances[-1]:.3g}"),
              Check(f"{title}: cosine with float64", ours.cosine(), COSINE_LIMIT, at_least=True)]
    if conv == "direct":
        checks.append(judge_worst_tensor(f"{title}: worst tensor over its limit", ours, peers))
    return checks


def judge_bf16_gradient(known, peers, after):
    """Beside PyTorch's under autocast. Where two activations are closer than bf16 tells apart, luck decides about ReLU's mask
    and max pooling's choice, so that PyTorch's cosine, too, differs between equal steps: its lowest is what bf16 gives."""
    ours = gradients.compare(gradients.taken_off(known.weights, after), known.exact.gradient)
    theirs = [peer.gradient for peer in peers]
    cosines = sorted(peer.cosine() for peer in theirs)
    distances = sorted(peer.distance() for peer in theirs)
    return [Check("gradient in bf16: cosine with float64", ours.cosine(), cosines[0] - BF16_COSINE_MARGIN, at_least=True,
                  note=f"PyTorch bf16: {cosines[0]:.4g} … {cosines[-1]:.4g}"),
            Check("gradient in bf16: distance to float64", ours.distance(), BF16_DISTANCE_FACTOR * distances[-1],
                  note=f"PyTorch bf16: {distances[0]:.3g} … {distances[-1]:.3g}"),
            judge_worst_tensor("gradient in bf16: worst tensor over its limit", ours, theirs, BF16_TENSOR_FACTOR)]


def judge_worst_tensor(name, ours, peers, factor=TENSOR_FACTOR):
    rows = []
    for slot in ours.rows:
        limit = max(factor * max(peer.distance_of(slot) for peer in peers), TENSOR_FLOOR)
        rows.append((ours.distance_of(slot) / limit, slot, limit))
    rows.sort(reverse=True)
    note = ", ".join(f"{slot} {ratio * limit:.2g} ≤ {limit:.2g}" for ratio, slot, limit in rows[:3])
    return Check(name, rows[0][0], 1.0, note=note)


def judge_statistics(known, after):
    """Running means and variances after the step; the worst tensor, relative to what one batch adds (a tenth)."""
    exact = known.exact.statistics
    if not exact:
        return []

    def worst(statistics):
        return max((np.linalg.norm(statistics[name] - exact[name]) / (0.1 * np.linalg.norm(exact[name])), name)
                   for name in exact)

    figure, name = worst(after)
    return [Check("running statistics after a step", figure, STATISTICS_LIMIT,
                  note=f"{name}; PyTorch float32: {max(worst(peer.statistics)[0] for peer in known.peers):.3g}")]


def judge_later_losses(known, losses):
    return [Check(f"loss of step {step + 1}: distance to PyTorch float32", abs(ours - theirs),
                  max(SPREAD_FACTOR * spread, SPREAD_FLOOR * abs(theirs)), note=f"{ours:.7g} against {theirs:.7g}")
            for step, (ours, theirs, spread) in enumerate(zip(losses, known.losses, known.spread))]


def judge_logits(name, logits, known):
    if logits.shape != known.logits.shape:
        return failed(name, f"shape {logits.shape}, expected {known.logits.shape}")
    largest = np.abs(known.logits).max()
    return Check(name, np.abs(logits - known.logits).max() / largest, LOGITS_LIMIT,
                 note=f"PyTorch float32: {np.abs(known.peer_logits - known.logits).max() / largest:.3g}")


def loads_strictly(name, task, path):
    """Whether PyTorch takes a file of ours by name; returns (check, tensors or None)."""
    try:
        tensors, _ = safetensors_io.read(path)
        reference.load(task, tensors)
    except (OSError, RuntimeError, safetensors_io.FormatError) as error:
        return failed(name, error), None
    return Check(name, 0.0, 0.0, note=f"{len(tensors)} tensors"), tensors


@contextlib.contextmanager
def recorded(checks, name):
    """A command that fails is a failed check; the others still run."""
    try:
        yield
    except (CommandFailed, OSError, safetensors_io.FormatError) as error:
        checks.append(failed(name, error))


def check_own_weights(trainer, task, images, labels):
    """Weights that dtrain initialises: PyTorch loads them and finds the same loss."""
    checks = []
    with recorded(checks, "dtrain init"):
        path = trainer.init(task, seed=3)
        check, tensors = loads_strictly("dtrain init's weights load with strict=True", task, path)
        checks.append(check)
        if tensors:
            (loss,), _ = trainer.train(task, path, 1, FIRST_STEP, "direct")
            exact = reference.first_loss(reference.load(task, tensors, torch.float64), images, labels)
            checks.append(judge_loss("first loss from dtrain init's weights", loss, exact))
    return checks


def check_peer_weights(trainer, task, known, path):
    """Weights that PyTorch wrote (at `path`): a step with either convolution, a few steps, evaluation."""
    checks = []
    for conv in GRADIENT_FACTOR:
        with recorded(checks, f"one step, --conv {conv}"):
            (loss,), saved = trainer.train(task, path, 1, FIRST_STEP, conv)
            checks.append(judge_loss(f"first loss, --conv {conv}", loss, known.exact.loss))
            check, after = loads_strictly(f"trained weights, --conv {conv}, load with strict=True", task, saved)
            checks.append(check)
            if after:
                checks += judge_gradient(known, after, conv) + (judge_statistics(known, after) if conv == "direct" else [])
    if known.losses:
        with recorded(checks, "later steps"):
            losses, _ = trainer.train(task, path, len(known.losses), known.rates, "direct")
            checks += judge_later_losses(known, losses)
    for conv in GRADIENT_FACTOR:
        with recorded(checks, f"logits, --conv {conv}"):
            logits = trainer.eval_logits(task, path, conv)
            checks.append(judge_logits(f"logits, --conv {conv}", logits, known))
    return checks


def check_bf16(trainer, task, known, images, labels, path):
    """A step in bf16 from the weights at `path`. Where this CPU does not compute bf16, there is nothing to check."""
    checks = []
    with recorded(checks, "one step in bf16"):
        try:
            (loss,), saved = trainer.train(replace(task, precision="bf16"), path, 1, FIRST_STEP, "direct")
        except PrecisionRefused:
            print("skipped: a step in bf16, which dtrain refuses on this CPU")
            return []
        checks.append(judge_loss("first loss in bf16", loss, known.exact.loss, BF16_LOSS_LIMIT))
        check, after = loads_strictly("weights trained in bf16 load with strict=True", task, saved)
        checks.append(check)
        if after:
            peers = reference.bf16_first_steps(task, known, images, labels)
            checks += judge_bf16_gradient(known, peers, after)
    return checks


def print_checks(checks):
    width = max(len(check.name) for check in checks)
    for check in checks:
        sign = "≥" if check.at_least else "≤"
        print(f"{'ok  ' if check.passed() else 'FAIL'}  {check.name:{width}}  {check.figure:10.3g} {sign} {check.limit:<10.3g} "
              f"{check.note}")


@contextlib.contextmanager
def work_directory(options):
    """A temporary directory, or a fresh one below --work that is left alone."""
    if not options.work:
        with tempfile.TemporaryDirectory(prefix="dtrain-parity-") as folder:
            yield Path(folder)
        return
    folder = Path(options.work) / f"parity-{options.model}{'-aux-heads' if options.aux_heads else ''}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="resnet18, inception_v3, resnet20, lenet5, …")
    parser.add_argument("--dtrain", help="the binary (default: $DTRAIN, or build/release/launch/dtrain)")
    parser.add_argument("--threads", type=int, default=2, help="of either program (default 2)")
    parser.add_argument("--size", type=int, help="side of the pictures (default: what the network is made for)")
    parser.add_argument("--steps", type=int, default=5, help="whose losses are compared (default 5; 0: the first step alone)")
    parser.add_argument("--perturbed-runs", type=int, default=8, help="PyTorch runs that measure the spread (default 8)")
    parser.add_argument("--seed", type=int, default=1, help="of weights and random pictures (default 1)")
    parser.add_argument("--mean-beta", type=float, default=0.0,
                        help="of batch-norms; above 0 fewer ReLUs lie near their kink, and float32 is nearer to float64 (default 0)")
    parser.add_argument("--precision", choices=["both", "fp32"], default="both",
                        help="both: fp32, then a step in bf16 where the CPU computes it (default both)")
    parser.add_argument("--aux-heads", action="store_true", help="train googlenet or inception_v3 with auxiliary classifiers")
    parser.add_argument("--work", help="where pictures, weights and runs stay if a check fails (default: nothing stays)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    binary = find_binary(options.dtrain)
    wanted = networks.input_of(options.model, options.size)

    with work_directory(options) as work:
        kind = pictures.write_pictures(work / "pictures" / "train", wanted, options.seed)
        images, labels = pictures.read_pictures(work / "pictures" / "train", wanted.channels)
        heads = " with auxiliary heads" if options.aux_heads else ""
        print(f"{options.model}{heads}, {len(labels)} {kind} of {wanted.size}x{wanted.size}, {options.threads} threads, {binary}",
              flush=True)
        task = Task(options.model, wanted.num_classes, wanted.size, work / "pictures", batch=len(labels),
                    has_dropout=networks.has_dropout(options.model), aux_heads=options.aux_heads)
        weights = reference.random_weights(task, images, options.seed, options.mean_beta)
        safetensors_io.write(work / "peer.safetensors", weights, {"format": "pt"})
        known = reference.prepare(task, weights, images, labels, options.steps, options.perturbed_runs)
        trainer = Dtrain(binary, work, options.threads)
        checks = check_own_weights(trainer, task, images, labels)
        checks += check_peer_weights(trainer, task, known, work / "peer.safetensors")
        if options.precision == "both":
            checks += check_bf16(trainer, task, known, images, labels, work / "peer.safetensors")
        print_checks(checks)
        broken = sum(not check.passed() for check in checks)
        print(f"{len(checks) - broken} of {len(checks)} checks passed")
        if broken and options.work:
            print(f"files: {work}")
        elif options.work:
            shutil.rmtree(work)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
