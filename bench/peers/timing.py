"""Timing of PyTorch's training steps: one step, what a run of them reports, and the checks that make figures comparable."""

import resource
import statistics
import subprocess
import time

import torch
import torch.nn.functional as functional

import networks


def percentile(values, share):
    """Linear between the two nearest ranks."""
    values = sorted(values)
    position = share * (len(values) - 1)
    low = int(position)
    high = min(low + 1, len(values) - 1)
    return values[low] + (values[high] - values[low]) * (position - low)


def peak_rss_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def blas_warning():
    """A sentence when PyTorch would run its linear layers on one slow thread, else an empty string."""
    found = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", "libopenblas0-pthread"], capture_output=True, text=True,
                           check=False)
    if "install ok installed" in found.stdout:
        return ""
    return "libopenblas0-pthread is not installed: PyTorch's linear layers crawl, the comparison is unfair"


class SyntheticTraining:
    """A network, one random batch and SGD with momentum 0.9; step() is one training step."""

    def __init__(self, options, wrap=lambda module: module):
        wanted = networks.input_of(options.model)
        torch.manual_seed(options.seed)
        self.memory_format = torch.channels_last if options.memory_format == "channels_last" else torch.contiguous_format
        self.bf16 = options.precision == "bf16"
        self.module = wrap(networks.build(options.model).to(memory_format=self.memory_format).train())
        images = torch.randn(options.batch, wanted.channels, wanted.size, wanted.size)
        self.images = images.to(memory_format=self.memory_format)
        self.labels = torch.randint(0, wanted.num_classes, (options.batch,))
        self.optimizer = torch.optim.SGD(networks.parameter_groups(self.module, 1e-4), lr=options.lr, momentum=0.9)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bf16):
            loss = functional.cross_entropy(self.module(self.images), self.labels)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def run(training, steps, warmup):
    """Returns (seconds of each step after the warm-up, losses of all steps)."""
    seconds, losses = [], []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        losses.append(training.step())
        seconds.append(time.perf_counter() - start)
    return seconds[warmup:], losses


def report(seconds, losses, pictures_per_step):
    speeds = [pictures_per_step / s for s in seconds]
    return {"images_per_s": {"median": statistics.median(speeds), "p10": percentile(speeds, 0.1),
                             "p90": percentile(speeds, 0.9)},
            "step_s": {"median": statistics.median(seconds)}, "steps": len(seconds), "peak_rss_bytes": peak_rss_bytes(),
            "loss_first": losses[0], "loss_last": losses[-1], "versions": {"torch": torch.__version__}}


def add_options(parser):
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--batch", type=int, default=16, help="pictures a step and process (default 16)")
    parser.add_argument("--threads", type=int, default=2, help="of each process (default 2)")
    parser.add_argument("--steps", type=int, default=10, help="measured (default 10)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measured ones (default 3)")
    parser.add_argument("--memory-format", choices=["contiguous", "channels_last"], default="contiguous")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="bf16: autocast (default fp32)")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
