"""Fine-tunes a network of torchvision to the first classes of a data set with `dtrain --preset finetune` alone, and with PyTorch,
which takes batch size and every step's rate from dtrain's run. Prints top-1 of both, mean and deviation over seeds.

Alike: weights, images, batch sizes, rates, momentum 0.9, weight decay 1e-4 on weights alone, random resized crops and flips,
dropout, the head drawn as torchvision draws it, evaluation on centre crops. Not alike: random numbers, and the last digits of
resized pixels.
"""

import argparse
import json
import statistics
import sys
from pathlib import Path

import torch
import torchvision
from torchvision import transforms

import dtrain_command
import networks
import safetensors_io

NORMALISE = transforms.Normalize(networks.MEAN, networks.STDDEV)
TRAIN = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALISE])
EVALUATE = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALISE])
MOMENTUM, WEIGHT_DECAY = 0.9, 1e-4


def link_classes(data, count, into):
    """The first classes of data/train and data/val, as a data set of their own."""
    names = sorted(path.name for path in (data / "train").iterdir())[:count]
    for split in ("train", "val"):
        (into / split).mkdir(parents=True, exist_ok=True)
        for name in names:
            link = into / split / name
            if not link.exists():
                link.symlink_to((data / split / name).resolve())
    return into


def run_dtrain(options, data, precision, seed, out):
    """Result: (top-1 of the last validation, rates of all steps, global batch)."""
    dtrain_command.run([options.dtrain, "--model", options.model, "--data", data, "--init-from", options.weights, "--preset",
                        "finetune", "--precision", precision, "--seed", seed, "--threads", options.threads, "--out", out,
                        "--checkpoint-every", "off", *(["--epochs", options.epochs] if options.epochs else [])],
                       timeout_s=7200)
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if "loss" in line]
    return [line for line in lines if "val_top1" in line][-1]["val_top1"], [line["lr"] for line in steps], steps[0]["samples"]


def network_from(options, classes):
    """torchvision's module with a fresh head and the file's weights elsewhere."""
    module = networks.build(options.model, num_classes=classes)
    tensors, _ = safetensors_io.read(options.weights)
    own = module.state_dict()
    fitting = {name: torch.from_numpy(value.copy()) for name, value in tensors.items()
               if name in own and own[name].shape == value.shape}
    module.load_state_dict({**own, **fitting})
    return module


def run_pytorch(options, data, precision, seed, rates, batch):
    """Result: top-1 after the last step."""
    torch.manual_seed(seed)
    folder = torchvision.datasets.ImageFolder(data / "train", TRAIN)
    loader = torch.utils.data.DataLoader(folder, batch_size=batch, shuffle=True)
    module = network_from(options, len(folder.classes))
    groups = [{"params": [p for p in module.parameters() if p.dim() > 1], "weight_decay": WEIGHT_DECAY},
              {"params": [p for p in module.parameters() if p.dim() == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=rates[0], momentum=MOMENTUM)
    loss_of = torch.nn.CrossEntropyLoss()
    autocast = lambda: torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16")
    module.train()
    step = 0
    while step < len(rates):
        for images, labels in loader:
            if step == len(rates):
                break
            for group in optimizer.param_groups:
                group["lr"] = rates[step]
            optimizer.zero_grad(set_to_none=True)
            with autocast():
                loss = loss_of(module(images), labels)
            loss.backward()
            optimizer.step()
            step += 1
    module.eval()
    hits = total = 0
    with torch.no_grad():
        for images, labels in torch.utils.data.DataLoader(torchvision.datasets.ImageFolder(data / "val", EVALUATE), batch_size=50):
            with autocast():
                hits += (module(images).argmax(1) == labels).sum().item()
            total += len(labels)
    return hits / total


def text_of(shares):
    spread = statistics.stdev(shares) if len(shares) > 1 else 0.0
    return f"{100 * statistics.mean(shares):6.2f} ± {100 * spread:.2f} %"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--weights", required=True, type=Path, help="safetensors file of the network")
    parser.add_argument("--data", required=True, type=Path, help="directory with train/ and val/")
    parser.add_argument("--model", default="squeezenet1_1", help="(%(default)s)")
    parser.add_argument("--classes", default="2,5", help="how many of the first classes, a run each (%(default)s)")
    parser.add_argument("--seeds", default=3, type=int, help="(%(default)s)")
    parser.add_argument("--precisions", default="fp32,bf16", help="(%(default)s)")
    parser.add_argument("--epochs", type=float, help="instead of the preset's")
    parser.add_argument("--threads", default=2, type=int, help="(%(default)s)")
    parser.add_argument("--limit", default=2.0, type=float, help="points that dtrain may be below PyTorch (%(default)s)")
    parser.add_argument("--dtrain", help="binary (the release build)")
    parser.add_argument("--work", default="/tmp/compare_finetune", type=Path, help="(%(default)s)")
    options = parser.parse_args()
    options.dtrain = dtrain_command.find_binary(options.dtrain)
    torch.set_num_threads(options.threads)

    failed = False
    for count in map(int, options.classes.split(",")):
        data = link_classes(options.data, count, options.work / f"{count}-classes")
        for precision in options.precisions.split(","):
            ours, theirs = [], []
            for seed in range(1, options.seeds + 1):
                top1, rates, batch = run_dtrain(options, data, precision, seed, options.work / f"run-{count}-{precision}-{seed}")
                ours.append(top1)
                theirs.append(run_pytorch(options, data, precision, seed, rates, batch))
                print(f"  {count} classes, {precision}, seed {seed}: dtrain {100 * ours[-1]:.2f} %, PyTorch {100 * theirs[-1]:.2f} % "
                      f"({len(rates)} steps, batch {batch}, rate {max(rates):.4g})", flush=True)
            difference = 100 * (statistics.mean(ours) - statistics.mean(theirs))
            failed |= difference < -options.limit
            print(f"{count} classes, {precision}: dtrain {text_of(ours)}, PyTorch {text_of(theirs)}, difference {difference:+.2f} points",
                  flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
