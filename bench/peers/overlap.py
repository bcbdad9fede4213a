"""Trains a network with the exchange of gradients left out, after backward, beside it, and into the next forward, in turn.

Hidden is the share of the exchange's own time by which a step grows less than it would if nothing overlapped. With --hosts, ranks
are on hosts of network namespaces (bench/hosts.sh); with --ddp, PyTorch's DistributedDataParallel over gloo runs on the same.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
from pathlib import Path

import rounds
from dtrain_command import REPOSITORY, CommandFailed, clean_environment, find_binary, read_report, run

HERE = Path(__file__).resolve().parent
APART, AFTER = "compute alone", "overlap off"


def launched(options, no_mpi=False):
    """What the command of a rank follows."""
    if options.hosts:
        return ["bash", HERE.parent / "hosts.sh", "--hosts", options.hosts, "--ranks-per-host", options.ranks // options.hosts,
                "--rate", options.rate, *(["--no-mpi"] if no_mpi else []), "--"]
    return [] if no_mpi else ["mpirun", "-np", options.ranks, "--bind-to", "none", "--oversubscribe"]


def measure_dtrain(binary, name, how, options, folder, exchange_s):
    def measure(steps):
        report = folder / "dtrain.json"
        report.unlink(missing_ok=True)
        run([*launched(options), binary, "--model", options.model, "--data", "synthetic",
             "--global-batch", options.batch * options.ranks, "--local-batch", options.batch, "--steps", steps + options.warmup,
             "--threads", options.threads, "--precision", options.precision, "--seed", 1, "--lr", 0.01,
             "--schedule", "constant", *how, "--report", report])
        read = read_report(report)
        exchange_s.setdefault(name, []).append(read["exposed_comm_s"] / read["steps"])
        return rounds.figures_of(read, name)
    return rounds.Program(name, measure, options.batch * options.ranks)


def measure_ddp(options):
    def measure(steps):
        ranks = [] if options.hosts else ["--ranks", options.ranks]
        printed = run([*launched(options, no_mpi=True), sys.executable, HERE / "ddp_gloo.py", "--model", options.model,
                       "--batch", options.batch, *ranks, "--threads", options.threads, "--steps", steps,
                       "--warmup", options.warmup, "--memory-format", "channels_last", "--precision", options.precision],
                      environment=clean_environment(options.threads))
        return rounds.figures_of(json.loads(printed), "DDP")
    return rounds.Program("PyTorch DDP over gloo", measure, options.batch * options.ranks)


def main():
    parser = argparse.ArgumentParser(prog="bench/bench_overlap.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="resnet50")
    parser.add_argument("--allreduce", default="auto")
    parser.add_argument("--overlap", default="off,backward,forward", help="dtrain's ways to measure (default off,backward,forward)")
    parser.add_argument("--hosts", type=int, default=0, help="of network namespaces; 0: this host (default)")
    parser.add_argument("--rate", default="1gbit", help="of each host's link (default 1gbit)")
    parser.add_argument("--ddp", action="store_true", help="measure PyTorch's DDP too")
    parser.add_argument("--dtrain", help="the binary (default: $DTRAIN, or build/release/launch/dtrain)")
    parser.add_argument("--ranks", type=int, default=2, help="on all hosts (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="a rank (default 1)")
    parser.add_argument("--batch", type=int, default=16, help="pictures a rank (default 16)")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15.0, help="of a run's measured steps (default 15)")
    parser.add_argument("--warmup", type=int, default=4, help="steps before the measured ones (default 4)")
    parser.add_argument("--json", default=str(REPOSITORY / "bench" / "results" / "overlap.json"))
    options = parser.parse_args()
    binary = find_binary(options.dtrain)

    conditions, exchange_s = rounds.conditions(), {}
    with tempfile.TemporaryDirectory(prefix="dtrain-overlap-") as folder:
        exchange = ["--allreduce", options.allreduce]
        ways = [(APART, ["--allreduce", "none"])]
        ways += [(f"overlap {way}", [*exchange, "--overlap", way]) for way in options.overlap.split(",")]
        programs = [measure_dtrain(binary, name, how, options, Path(folder), exchange_s) for name, how in ways]
        if options.ddp:
            programs.append(measure_ddp(options))
        results = rounds.run_rounds(programs, options.rounds,
                                    lambda speed, batch: max(6, math.ceil(options.seconds * speed / batch)))

    images = options.batch * options.ranks
    step_s = {name: images / rounds.summary(runs)["images_per_s"]["median"] for name, runs in results.items()}
    exposed_s = {name: statistics.median(seconds[1:]) for name, seconds in exchange_s.items()}  # the first run is not counted
    rows = []
    for name, runs in results.items():
        speed = rounds.summary(runs)["images_per_s"]
        row = [name, f"{speed['median']:.2f} ({speed['min']:.2f} … {speed['max']:.2f})", f"{1e3 * step_s[name]:.0f}"]
        row.append(f"{1e3 * exposed_s[name]:.0f}" if name in exposed_s and name != APART else "–")
        hides = name in exposed_s and name not in (APART, AFTER) and AFTER in exposed_s
        row.append(f"{100 * (1.0 - (step_s[name] - step_s[APART]) / exposed_s[AFTER]):.0f} %" if hides else "–")
        row.append(rounds.ratio_text(rounds.ratio(runs, results[APART])))
        row.append(rounds.gigabytes(rounds.summary(runs)["peak_rss_bytes"]))
        rows.append(row)
    where = f"{options.hosts} hosts, {options.rate}" if options.hosts else "one host"
    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    print(rounds.markdown_table([f"{options.model}, {options.precision}, {options.ranks} ranks × {options.threads} threads, batch "
                                 f"{options.batch} a rank, {where}", "images/s: median (min … max)", "step, ms",
                                 "waited for the exchange, ms", "hidden", "of compute alone", "peak memory of a rank, GB"], rows))
    settings = {name: getattr(options, name) for name in ("model", "allreduce", "overlap", "hosts", "rate", "ranks", "threads", "batch",
                                                          "precision", "rounds", "seconds", "warmup")}
    rounds.write_json(options.json, {"conditions": conditions, "settings": settings, "step_s": step_s, "exposed_s": exposed_s,
                                     "programs": {name: rounds.summary(runs) for name, runs in results.items()}})


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failure:
        sys.exit(str(failure))
