"""Loads the pictures of a folder with torchvision and PIL on one thread and prints images/s as one JSON object.

torchvision's documented pipeline: ImageFolder, RandomResizedCrop and RandomHorizontalFlip (train) or Resize and CenterCrop
(eval), ToTensor, Normalize. The first, untimed pass makes the files resident and yields mean and standard deviation of the
values.
"""

import argparse
import json
import math
import time

import PIL
import torch
import torchvision
from torchvision import transforms

import networks


def build_transform(name, resize, crop):
    to_values = [transforms.ToTensor(), transforms.Normalize(networks.MEAN, networks.STDDEV)]
    if name == "train":
        return transforms.Compose([transforms.RandomResizedCrop(crop), transforms.RandomHorizontalFlip(), *to_values])
    return transforms.Compose([transforms.Resize(resize), transforms.CenterCrop(crop), *to_values])


def moments(dataset):
    total, squares, count = 0.0, 0.0, 0
    for image, _label in dataset:
        total += image.sum(dtype=torch.float64).item()
        squares += image.double().square().sum().item()
        count += image.numel()
    mean = total / count
    return mean, math.sqrt(squares / count - mean * mean)


def images_per_s(dataset, seconds):
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        image, _label = dataset[done % len(dataset)]
        done += 1
    assert image.dtype == torch.float32 and image.dim() == 3
    return done / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", required=True, help="holds class folders")
    parser.add_argument("--transform", choices=["train", "eval"], default="train")
    parser.add_argument("--resize", type=int, default=256)
    parser.add_argument("--crop", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    dataset = torchvision.datasets.ImageFolder(options.data, build_transform(options.transform, options.resize, options.crop))
    mean, stddev = moments(dataset)
    print(json.dumps({"transform": options.transform, "pictures": len(dataset),
                      "images_per_s": images_per_s(dataset, options.seconds), "mean": mean, "stddev": stddev,
                      "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__,
                                   "PIL": PIL.__version__}}))


if __name__ == "__main__":
    main()
