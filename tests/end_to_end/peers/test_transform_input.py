"""dtrain's logits are torchvision's for networks whose published weights transform their input: by options, and by the name
of the file. Needs dtrain's binary ($DTRAIN)."""

import os
import tempfile
import unittest
from pathlib import Path

import numpy as np
import torch
import torchvision

import dtrain_command
import networks
import pictures
import safetensors_io

CLASSES = 4
TOLERANCE = 1e-4
# The published name of the weights, and a size at which every layer has more than one pixel.
CASES = {"googlenet": ("googlenet-1378be20.safetensors", 96), "inception_v3": ("inception_v3_google-0cc3c7bd.safetensors", 139)}


def transforming_network(model, images):
    """torchvision's network with transform_input, random weights, and running statistics that fit the pictures."""
    torch.manual_seed(3)
    module = getattr(torchvision.models, model)(num_classes=CLASSES, transform_input=True, aux_logits=False, init_weights=False)
    for part in module.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(part.weight, 0.8, 1.2)
            torch.nn.init.normal_(part.bias, 1.0, 0.1)
            part.momentum = 0.5
    networks.without_dropout(module).train()
    with torch.no_grad():
        for _ in range(4):
            module(images.float())
    return module.eval()


class TransformInput(unittest.TestCase):
    def logits(self, work, model, weights, size, options):
        file = work / "logits.safetensors"
        dtrain_command.run([dtrain_command.find_binary(), "eval", "--model", model, "--num-classes", CLASSES, "--resize", size,
                            "--crop", size, "--data", work / "pictures", "--weights", weights, "--conv", "direct",
                            "--threads", 1, "--logits", file, *options])
        return safetensors_io.read(file)[0]["logits"]

    def test_gives_torchvisions_logits_by_options_and_by_the_published_name(self):
        torch.set_num_threads(1)
        for model, (published, size) in CASES.items():
            with self.subTest(model), tempfile.TemporaryDirectory() as folder:
                work = Path(folder)
                pictures.write_pictures(work / "pictures", networks.Input(size=size), seed=1)
                images, _ = pictures.read_pictures(work / "pictures", 3)
                module = transforming_network(model, images)
                for name in ("weights.safetensors", published):
                    safetensors_io.write(work / name, {key: value.numpy() for key, value in module.state_dict().items()})
                with torch.no_grad():
                    exact = module.double()(images.double()).numpy()

                half = ["--mean", "0.5,0.5,0.5", "--std", "0.5,0.5,0.5"]
                by_options = self.logits(work, model, work / "weights.safetensors", size, half)
                by_name = self.logits(work, model, work / published, size, [])
                without = self.logits(work, model, work / "weights.safetensors", size, [])

                self.assertLess(np.abs(by_options - exact).max(), TOLERANCE)
                self.assertLess(np.abs(by_name - exact).max(), TOLERANCE)
                self.assertGreater(np.abs(without - exact).max(), 100 * TOLERANCE)


if __name__ == "__main__":
    unittest.main()
