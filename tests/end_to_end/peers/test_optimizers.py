"""Twenty steps of dtrain's optimizers against torch.optim's: the same weights and gradients, options from the command line."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch

import networks
import safetensors_io

STEPS = 20
PROGRAM = os.environ["OPTIMIZER_STEPS"]

# Rounding: a weight of 1 is rounded 20 times by 2^-24, and is moved by 0.1 and more: 20 * 6e-8 / 0.1 = 1e-5, where all errors
# point the same way; at random, a fifth of it.
TOLERANCE = 1e-5


class Weights(torch.nn.Module):
    """Tensors of several dimensions, which decay, and vectors, which do not; one larger than what a thread takes alone."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        for name, shape in {"large": (150, 200), "conv": (5, 3, 3, 3), "bias": (17,), "scale": (64,), "odd": (7, 11)}.items():
            self.register_parameter(name, torch.nn.Parameter(torch.empty(shape).uniform_(-1, 1, generator=generator)))


def gradients_of(step, module):
    generator = torch.Generator().manual_seed(1000 + step)
    return {name: 0.3 * torch.randn(weight.shape, generator=generator) for name, weight in module.named_parameters()}


def steps_of_dtrain(options):
    module = Weights()
    tensors = {f"weight.{name}": weight.detach().numpy() for name, weight in module.named_parameters()}
    for step in range(STEPS):
        tensors |= {f"gradient.{step}.{name}": g.numpy() for name, g in gradients_of(step, module).items()}
    with tempfile.TemporaryDirectory() as folder:
        source, result = Path(folder) / "in.safetensors", Path(folder) / "out.safetensors"
        safetensors_io.write(source, tensors)
        command = [PROGRAM, source, result, "--steps", STEPS, "--lr", "0.05", *options]
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(f"{command}: {done.stderr}")
        weights, _ = safetensors_io.read(result)
    return weights.pop("rates"), weights


def steps_of_torch(make_optimizer, weight_decay, rates, clip_norm=None):
    module = Weights()
    optimizer = make_optimizer(networks.parameter_groups(module, weight_decay))
    for step, rate in enumerate(rates):
        for name, gradient in gradients_of(step, module).items():
            getattr(module, name).grad = gradient
        if clip_norm:
            torch.nn.utils.clip_grad_norm_(module.parameters(), clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        optimizer.step()
    return {name: weight.detach().numpy() for name, weight in module.named_parameters()}


class Optimizers(unittest.TestCase):
    def expect_equal(self, options, make_optimizer, weight_decay=0.01, clip_norm=None):
        rates, weights = steps_of_dtrain([*options, "--weight-decay", weight_decay, "--warmup-epochs", "0.25"])
        expected = steps_of_torch(make_optimizer, weight_decay, rates, clip_norm)
        self.assertGreater(len(set(rates.tolist())), STEPS // 2, "the rate should change")
        for name, start in Weights().named_parameters():
            way = np.linalg.norm(expected[name] - start.detach().numpy())
            distance = np.linalg.norm(weights[name].astype(np.float64) - expected[name])
            self.assertLess(distance / way, TOLERANCE, f"{options}: {name}")

    def test_sgd(self):
        self.expect_equal(["--optimizer", "sgd", "--momentum", "0.9"], lambda g: torch.optim.SGD(g, lr=1, momentum=0.9))

    def test_nesterov(self):
        self.expect_equal(["--optimizer", "nesterov", "--momentum", "0.8"],
                          lambda g: torch.optim.SGD(g, lr=1, momentum=0.8, nesterov=True))

    def test_rmsprop(self):
        self.expect_equal(["--optimizer", "rmsprop", "--momentum", "0.9"],
                          lambda g: torch.optim.RMSprop(g, lr=1, momentum=0.9))
        self.expect_equal(["--optimizer", "rmsprop", "--momentum", "0", "--rmsprop-alpha", "0.9", "--epsilon", "0.001"],
                          lambda g: torch.optim.RMSprop(g, lr=1, alpha=0.9, eps=0.001))

    def test_adamw(self):
        self.expect_equal(["--optimizer", "adamw"], lambda g: torch.optim.AdamW(g, lr=1))
        self.expect_equal(["--optimizer", "adamw", "--beta1", "0.8", "--beta2", "0.95", "--epsilon", "0.0001"],
                          lambda g: torch.optim.AdamW(g, lr=1, betas=(0.8, 0.95), eps=0.0001), weight_decay=0.1)

    def test_clipping(self):
        # The gradients' norm is about 0.3 * sqrt(30293) = 52.
        for norm in (10.0, 51.0, 100.0):
            self.expect_equal(["--optimizer", "adamw", "--clip-norm", norm], lambda g: torch.optim.AdamW(g, lr=1), clip_norm=norm)
            self.expect_equal(["--clip-norm", norm], lambda g: torch.optim.SGD(g, lr=1, momentum=0.9), clip_norm=norm)

    def test_defaults_of_adamw_are_torchs(self):
        _, weights = steps_of_dtrain(["--optimizer", "adamw", "--schedule", "constant"])
        expected = steps_of_torch(lambda g: torch.optim.AdamW(g), torch.optim.AdamW([torch.zeros(1)]).defaults["weight_decay"],
                                  [0.05] * STEPS)
        for name, array in expected.items():
            np.testing.assert_allclose(weights[name], array, rtol=TOLERANCE, atol=TOLERANCE)


if __name__ == "__main__":
    unittest.main()
