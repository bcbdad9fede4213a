"""Trains a network on several ranks of this host with and without the exchange of gradients, in turn: what the exchange costs.

--allreduce none computes the same steps without exchanging; the ratio is what is left of its speed. With --ddp, PyTorch's
DistributedDataParallel over gloo runs in the same rounds.
"""

import argparse
import json
import math
import os
import sys
import tempfile
from pathlib import Path

import rounds
from dtrain_command import REPOSITORY, CommandFailed, clean_environment, find_binary, read_report, run

HERE = Path(__file__).resolve().parent


def measure_dtrain(binary, allreduce, options, folder):
    def measure(steps):
        report = folder / "dtrain.json"
        report.unlink(missing_ok=True)
        crowded = ["--oversubscribe"] if options.ranks > len(os.sched_getaffinity(0)) else []
        # dtrain places its threads itself, equally with either exchange.
        run(["mpirun", "-np", options.ranks, "--bind-to", "none", *crowded, binary, "--model", options.model,
             "--data", "synthetic", "--global-batch", options.batch * options.ranks, "--local-batch", options.batch,
             "--steps", steps + options.warmup, "--threads", options.threads, "--precision", options.precision, "--seed", 1,
             "--lr", 0.01, "--schedule", "constant", "--allreduce", allreduce, "--report", report])
        return rounds.figures_of(read_report(report), f"--allreduce {allreduce}")
    return rounds.Program(f"dtrain --allreduce {allreduce}", measure, options.batch * options.ranks)


def measure_ddp(options):
    def measure(steps):
        printed = run([sys.executable, HERE / "ddp_gloo.py", "--model", options.model, "--batch", options.batch,
                       "--ranks", options.ranks, "--threads", options.threads, "--steps", steps, "--warmup", options.warmup,
                       "--memory-format", "channels_last", "--precision", options.precision],
                      environment=clean_environment(options.threads))
        return rounds.figures_of(json.loads(printed), "DDP")
    return rounds.Program("PyTorch DDP over gloo", measure, options.batch * options.ranks)


def main():
    parser = argparse.ArgumentParser(prog="bench/exchange_overhead.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--allreduce", default="auto", help="the exchange to measure (default auto)")
    parser.add_argument("--ddp", action="store_true", help="measure PyTorch's DDP too")
    parser.add_argument("--dtrain", help="the binary (default: $DTRAIN, or build/release/launch/dtrain)")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="a rank (default 1)")
    parser.add_argument("--batch", type=int, default=16, help="pictures a rank (default 16)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=20.0, help="of a run's measured steps (default 20)")
    parser.add_argument("--warmup", type=int, default=3, help="steps before the measured ones (default 3)")
    parser.add_argument("--json", default=str(REPOSITORY / "bench" / "results" / "exchange_overhead.json"))
    parser.add_argument("--require", type=float, help="fail below this share of the speed without exchange")
    options = parser.parse_args()
    binary = find_binary(options.dtrain)

    conditions = rounds.conditions()
    with tempfile.TemporaryDirectory(prefix="dtrain-exchange-") as folder:
        with_exchange = measure_dtrain(binary, options.allreduce, options, Path(folder))
        without = measure_dtrain(binary, "none", options, Path(folder))
        programs = [with_exchange, without] + ([measure_ddp(options)] if options.ddp else [])
        results = rounds.run_rounds(programs, options.rounds,
                                    lambda speed, batch: max(5, math.ceil(options.seconds * speed / batch)))
    kept = rounds.ratio(results[with_exchange.name], results[without.name])
    figures = {name: rounds.summary(runs) for name, runs in results.items()}

    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    rows = [[name, f"{one['images_per_s']['median']:.2f} ({one['images_per_s']['min']:.2f} … "
             f"{one['images_per_s']['max']:.2f})", rounds.gigabytes(one["peak_rss_bytes"])] for name, one in figures.items()]
    rows.append([f"{options.allreduce} / none", rounds.ratio_text(kept), "–"])
    print(rounds.markdown_table([f"{options.model}, {options.ranks} ranks × {options.threads} threads",
                                 "images/s: median (min … max)", "peak memory of a rank, GB"], rows))
    settings = {name: getattr(options, name) for name in ("model", "allreduce", "ranks", "threads", "batch", "precision",
                                                          "rounds", "seconds", "warmup")}
    rounds.write_json(options.json, {"conditions": conditions, "settings": settings, "programs": figures, "kept": kept})
    return rounds.judge([rounds.Requirement(f"{options.allreduce} / none", kept["median"], options.require)])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failure:
        sys.exit(str(failure))
