"""The deviation of every tensor that dtrain begins with is that of torchvision's module, drawn here and now."""

import math
import os
import tempfile
import unittest
from pathlib import Path

import torch
from torch import nn

import dtrain_command
import networks
import safetensors_io
from dtrain_command import Task

MODELS = ["resnet18", "resnet50", "alexnet", "googlenet", "inception_v3", "densenet121", "squeezenet1_1", "mobilenet_v2", "lenet5",
          "resnet20"]
CLASSES = 100
# Heads that begin smaller than torchvision's, whose first losses would be far above ln C (src/models/families.hpp).
EXCEPTIONS = {("resnet18", "fc"): 0.05, ("resnet50", "fc"): 0.05, ("inception_v3", "fc"): 0.05, ("resnet20", "linear"): 64e-4}


def fresh_module(name):
    torch.manual_seed(1)
    module = networks.build(name, num_classes=CLASSES)
    if name in networks.CIFAR_DEPTHS:  # as its published implementation draws them
        for layer in module.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight)
    return module


class InitialWeights(unittest.TestCase):
    def test_have_the_deviations_of_torchvision(self):
        with tempfile.TemporaryDirectory() as work:
            dtrain = dtrain_command.Dtrain(dtrain_command.find_binary(os.environ.get("DTRAIN")), Path(work), threads=1)
            for name in MODELS:
                wanted = networks.input_of(name)
                path = dtrain.init(Task(name, CLASSES, wanted.size, Path(work), batch=1), seed=1)
                ours, _ = safetensors_io.read(path)
                for tensor, theirs in fresh_module(name).named_parameters():
                    layer = tensor.rsplit(".", 1)[0]
                    with self.subTest(f"{name} {tensor}"):
                        expected = theirs.double().square().mean().sqrt().item()
                        if (name, layer) in EXCEPTIONS:
                            variance = EXCEPTIONS[name, layer] / theirs[0].numel()
                            expected = math.sqrt(variance) if tensor.endswith("weight") else 0.0
                        # Both are draws: five times the deviation of the root mean square of so many, twice.
                        limit = 5 * math.sqrt(2) * expected / math.sqrt(2 * theirs.numel())
                        got = math.sqrt((ours[tensor].astype("float64") ** 2).mean())
                        self.assertLessEqual(abs(got - expected), limit)


if __name__ == "__main__":
    unittest.main()
