"""Climbs the large-batch recipe rung by rung, each with the same number of epochs, and says what each rung reaches.

The rungs follow Codreanu, Podareanu, Saletore 2017 (arXiv:1711.04291), on a network and pictures that two cores can train: rates in
proportion to the batch, a warm-up of 5/90 of the run, decays as theirs. A rung's accuracy is that of its last weights; the baseline's
batch is a sixteenth of the others'.
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from dtrain_command import CommandFailed, find_binary, run

BASELINE_BATCH = 64
WARMUP = 0.2  # of a run: the published 5 epochs of 90 would be eight updates here, against 446
COLLAPSE = 4.5 / 90


@dataclass(frozen=True)
class Rung:
    key: str
    name: str
    batch: int
    stages: str
    options: tuple = ()


def rungs(batch, epochs, rate, decay, lars_rate):
    """rate: of the baseline's batch. decay: its weight decay. lars_rate: of the large batch."""
    large = rate * batch / BASELINE_BATCH
    drops = f"schedule=multistep:at={epochs * 30 / 90:.6g}/{epochs * 60 / 90:.6g}/{epochs * 80 / 90:.6g},gamma=0.1"
    warm = f"warmup-epochs={WARMUP * epochs:.6g} warmup-start-lr={rate:.6g}"
    poly = "schedule=poly:power=2"
    trunk = epochs * (1 - COLLAPSE)
    # A poly of power 1 over the whole run, left where the collapse begins.
    at_collapse = large * (1 - (trunk - WARMUP * epochs) / (epochs - WARMUP * epochs))
    cycles = ensemble_stages(epochs, large, rate, decay)
    return [
        Rung("baseline", f"batch {BASELINE_BATCH}", BASELINE_BATCH,
             f"train: epochs={epochs} lr={rate} {drops} weight-decay={decay}"),
        Rung("plain", f"batch {batch}, plain", batch, f"train: epochs={epochs} lr={large} {drops} weight-decay={decay}"),
        Rung("warmup", "+ warm-up", batch, f"train: epochs={epochs} lr={large} {drops} {warm} weight-decay={decay}"),
        Rung("poly", "+ polynomial decay", batch, f"train: epochs={epochs} lr={large} {poly} {warm} weight-decay={decay}"),
        Rung("decay", "+ weight-decay scaling", batch, f"train: epochs={epochs} lr={large} {poly} {warm} weight-decay={decay / 2}"),
        Rung("collapse", "+ collapse", batch,
             f"train: epochs={trunk:.6g} lr={large} schedule=poly:power=1,over={epochs * (1 - WARMUP):.6g} {warm} "
             f"weight-decay={decay / 2}; collapse: epochs={epochs * COLLAPSE:.6g} lr={at_collapse:.6g} schedule=poly:power=2 "
             f"weight-decay={decay}"),
        Rung("ensemble", "+ collapsed ensemble", batch, cycles),
        Rung("lars", "LARS: warm-up and poly", batch,
             f"train: epochs={epochs} lr={lars_rate} {poly} warmup-epochs={WARMUP * epochs:.6g} weight-decay={decay}",
             ("--optimizer", "lars")),
    ]


def ensemble_stages(epochs, large, rate, decay):
    """The published cycles, a start of 25 epochs, cycles of 12, 15 and 15, collapses of 5, scaled to `epochs` in all."""
    unit = epochs / 82
    half = decay / 2
    collapse = "lr={lr:.6g} schedule=poly:power=2 weight-decay={wd} branch=on".format
    peaks = [1.02 / 1.6 * large, 0.764 / 1.6 * large, 0.572 / 1.6 * large]
    stages = [f"init: epochs={25 * unit:.6g} lr={large} schedule=poly:power=1,over={55 * unit:.6g} "
              f"warmup-epochs={5 * unit:.6g} warmup-start-lr={rate} weight-decay={half}"]
    for cycle, (peak, length, warmup) in enumerate(zip(peaks, (12, 15, 15), (0, 3.2, 3.2)), start=1):
        warm = f" warmup-epochs={warmup * unit:.6g} warmup-start-lr={peak / 3:.6g}" if warmup else ""
        stages.append(f"cycle-{cycle}: epochs={length * unit:.6g} lr={peak:.6g} schedule=poly:power=2,over={24 * unit:.6g}{warm} "
                      f"weight-decay={half}")
        stages.append(f"collapse-{cycle}: epochs={5 * unit:.6g} " + collapse(lr=peak / 4, wd=2 * decay))
    return "; ".join(stages)


def train(options, rung, seed, out):
    """Validation top-1 of the run's last weights, per cent; of the ensemble where the run kept members."""
    command = [*options.mpirun.split(), find_binary(), "--data", options.data, "--model", options.model,
               "--global-batch", rung.batch, "--local-batch", options.local_batch, "--precision", options.precision, "--threads", 1,
               "--stages", rung.stages, "--zero-init-gamma", options.zero_init_gamma, *rung.options, "--seed", seed, "--eval-every", options.eval_every, "--checkpoint-every", "off",
               "--log-every", 1000000, "--out", out]
    begin = time.monotonic()
    run([str(word) for word in command])
    report = json.loads((out / "report.json").read_text())
    result = report.get("ensemble") or report["validation"]
    return {"top1": 100 * result["top1"], "members": [100 * m["top1"] for m in report.get("members", [])],
            "seconds": time.monotonic() - begin}


def summary(values):
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.2f} ± {spread:.2f}"


def table(climbed, results, seeds):
    lines = ["| rung | " + " | ".join(f"seed {s}" for s in seeds) + " | mean ± standard deviation |", "|---" * (len(seeds) + 2) + "|"]
    for rung in climbed:
        values = [results[rung.key, s]["top1"] for s in seeds]
        lines.append(f"| {rung.name} | " + " | ".join(f"{v:.2f}" for v in values) + f" | {summary(values)} |")
    return "\n".join(lines)


def draw(path, climbed, results, seeds, title):
    import matplotlib
    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    matplotlib.rcParams["svg.hashsalt"] = "ladder"
    figure, axes = plt.subplots(figsize=(9, 4.5))
    means = [statistics.mean([results[r.key, s]["top1"] for s in seeds]) for r in climbed]
    axes.bar(range(len(climbed)), means, color=["#9aa5b1"] + ["#1f5fa8"] * (len(climbed) - 1), width=0.6)
    for x, rung in enumerate(climbed):
        values = [results[rung.key, s]["top1"] for s in seeds]
        axes.plot([x] * len(values), values, "o", color="#222", markersize=4)
        axes.text(x, max(values) + 0.8, f"{means[x]:.1f}", ha="center", fontsize=9)
    axes.set_xticks(range(len(climbed)), [r.name.replace(" ", "\n", 2) for r in climbed], fontsize=9)
    axes.set_ylabel("validation top-1, %")
    axes.set_ylim(0, max(means) * 1.15)
    axes.set_title(title, fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, format="svg", metadata={"Date": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="a directory with train/ and test/ (or val/) of class folders")
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--batch", type=int, default=1024, help="the large one (%(default)s)")
    parser.add_argument("--epochs", type=float, default=16, help="of every rung, branches included (%(default)s)")
    parser.add_argument("--rate", type=float, default=0.05, help=f"of batch {BASELINE_BATCH} (%(default)s)")
    parser.add_argument("--weight-decay", type=float, default=5e-4, help="before it is scaled (%(default)s)")
    parser.add_argument("--lars-rate", type=float, default=5.0, help="of the large batch (%(default)s)")
    parser.add_argument("--zero-init-gamma", choices=["on", "off"], default="on", help="(%(default)s)")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--rungs", default="", help="only these, by key: baseline,plain,warmup,poly,decay,collapse,ensemble,lars")
    parser.add_argument("--local-batch", type=int, default=64)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--eval-every", default="1000epoch", help="beside the ends of stages (%(default)s)")
    parser.add_argument("--mpirun", default="mpirun -np 2 --bind-to none", help="(%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("ladder"), help="a directory for the runs (%(default)s); those that are done are kept")
    parser.add_argument("--svg", type=Path)
    options = parser.parse_args()
    seeds = [int(s) for s in options.seeds.split(",")]
    wanted = options.rungs.split(",") if options.rungs else None
    all_rungs = rungs(options.batch, options.epochs, options.rate, options.weight_decay, options.lars_rate)
    climbed = [r for r in all_rungs if not wanted or r.key in wanted]
    results = {}
    options.out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    for seed in seeds:
        for rung in climbed:
            done = options.out / f"{rung.key}-{seed}.json"
            if done.exists():
                kept = json.loads(done.read_text())
            else:
                kept = train(options, rung, seed, options.out / f"{rung.key}-{seed}")
                done.write_text(json.dumps(kept))
            results[rung.key, seed] = kept
            members = "".join(f" {m:.2f}" for m in kept["members"])
            print(f"seed {seed}  {rung.name:28} {kept['top1']:6.2f} %  {kept['seconds']:5.0f} s" + (f"  members{members}" if members else ""), flush=True)
    print(f"\n{options.model}, {options.epochs:g} epochs each, {(time.monotonic() - begin) / 60:.0f} minutes\n")
    print(table(climbed, results, seeds))
    if options.svg:
        draw(options.svg, climbed, results, seeds, f"{options.model}, {options.epochs:g} epochs each, {len(seeds)} seeds")


if __name__ == "__main__":
    try:
        main()
    except CommandFailed as failure:
        sys.exit(str(failure))
