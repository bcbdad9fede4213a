"""Trains a network with dtrain and with PyTorch (all its modes) in turn, beside the convolution floor: speed and memory.

One rank, synthetic pictures. The floor is the time of the network's convolutions alone, without the stem's backward data. PyTorch runs
as it comes and with an allocator that keeps freed memory, in both memory formats: its best mode of the four is what dtrain is held against.
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import rounds
from dtrain_command import REPOSITORY, CommandFailed, clean_environment, find_binary, read_report, run

HERE = Path(__file__).resolve().parent
# glibc's malloc gives large blocks back to the kernel, and PyTorch's next step pays for getting them again; with these it keeps them.
KEEPING_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 40), "MALLOC_TRIM_THRESHOLD_": str(1 << 40)}
PYTORCH_MODES = {f"PyTorch {memory_format}{suffix}": (memory_format, allocator)
                 for suffix, allocator in (("", {}), (", memory kept", KEEPING_ALLOCATOR))
                 for memory_format in ("contiguous", "channels_last")}


def measure_dtrain(name, binary, model, batch, options, folder):
    def measure(steps):
        report = folder / "dtrain.json"
        report.unlink(missing_ok=True)
        run([binary, "--model", model, "--data", "synthetic", "--global-batch", batch, "--local-batch", batch,
             "--steps", steps + options.warmup, "--threads", options.threads, "--precision", options.precision, "--seed", 1,
             "--lr", 0.01, "--schedule", "constant", "--report", report])
        return rounds.figures_of(read_report(report), "dtrain")
    return rounds.Program(name, measure, batch)


def measure_pytorch(name, model, options):
    memory_format, allocator = PYTORCH_MODES[name]

    def measure(steps):
        printed = run([sys.executable, HERE / "train_pytorch.py", "--model", model, "--batch", options.batch, "--steps", steps,
                       "--warmup", options.warmup, "--threads", options.threads, "--memory-format", memory_format,
                       "--precision", options.precision], environment=clean_environment(options.threads) | allocator)
        return rounds.figures_of(json.loads(printed), name)
    return rounds.Program(name, measure, options.batch)


def measure_floor(binary, model, options, folder):
    def measure(_steps):
        file = folder / "floor.json"
        file.unlink(missing_ok=True)
        precision = ["--precision", options.precision] if options.precision != "fp32" else []
        run([binary, "--model", model, "--batch", options.batch, "--threads", options.threads, *precision, "--json", file],
            environment=clean_environment(options.threads))
        return rounds.Figures(read_report(file)["images_per_s"])
    return rounds.Program("convolution floor", measure, options.batch)


def compare(model, options, binary, floor, folder):
    """Measures one network; returns its figures as they go into the JSON file."""
    other_batches = {f"dtrain, batch {batch}": batch for batch in options.also_batches}
    programs = [measure_dtrain("dtrain", binary, model, options.batch, options, folder),
                *[measure_dtrain(name, binary, model, batch, options, folder) for name, batch in other_batches.items()],
                *[measure_pytorch(name, model, options) for name in PYTORCH_MODES]]
    if floor:
        programs.append(measure_floor(floor, model, options, folder))
    print(f"{model}, batch {options.batch}, {options.threads} threads, {options.precision}; images/s", flush=True)
    results = rounds.run_rounds(programs, options.rounds,
                                lambda speed, batch: max(5, math.ceil(options.seconds * speed / batch)))
    figures = {name: rounds.summary(runs) for name, runs in results.items()}
    best = max(PYTORCH_MODES, key=lambda name: figures[name]["images_per_s"]["median"])
    leanest = min(figures[name]["peak_rss_bytes"] for name in PYTORCH_MODES)
    return {"model": model, "programs": figures, "best_pytorch": best,
            "speedup": rounds.ratio(results["dtrain"], results[best]),
            "of_floor": rounds.ratio(results["dtrain"], results["convolution floor"]) if floor else None,
            "of_main_batch": {name: rounds.ratio(results[name], results["dtrain"]) for name in other_batches},
            "memory_of_best_pytorch": figures["dtrain"]["peak_rss_bytes"] / figures[best]["peak_rss_bytes"],
            "memory_of_leanest_pytorch": figures["dtrain"]["peak_rss_bytes"] / leanest}


def table(comparisons):
    rows = []
    for one in comparisons:
        for name, figures in one["programs"].items():
            speeds = figures["images_per_s"]
            rows.append([one["model"], name, f"{speeds['median']:.2f} ({speeds['min']:.2f} … {speeds['max']:.2f})",
                         rounds.gigabytes(figures["peak_rss_bytes"])])
        rows.append([one["model"], f"dtrain / {one['best_pytorch']}", rounds.ratio_text(one["speedup"]),
                     f"{one['memory_of_best_pytorch']:.2f} (of the leanest mode {one['memory_of_leanest_pytorch']:.2f})"])
        for name, kept in one["of_main_batch"].items():
            rows.append([one["model"], f"{name} / dtrain", rounds.ratio_text(kept), "–"])
        if one["of_floor"]:
            rows.append([one["model"], "dtrain / floor", rounds.ratio_text(one["of_floor"]), "–"])
    return rounds.markdown_table(["network", "program", "images/s: median (min … max)", "peak memory, GB"], rows)


def find_floor(argument, binary):
    if argument == "off":
        return None
    floor = Path(argument) if argument else binary.parent.parent / "bench" / "bench_conv_floor"
    if not floor.is_file():
        raise SystemExit(f"{floor}: no convolution floor program; build bench/, name it with --floor, or say --floor off")
    return floor


def main():
    parser = argparse.ArgumentParser(prog="bench/compare_pytorch.sh", description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="*", default=["resnet50"], metavar="MODEL")
    parser.add_argument("--dtrain", help="the binary (default: $DTRAIN, or build/release/launch/dtrain)")
    parser.add_argument("--floor", help="bench_conv_floor, or off (default: beside the binary's directory, in bench/)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--also-batches", type=lambda text: [int(n) for n in text.split(",")], default=[], metavar="N,N,…",
                        help="dtrain at these batch sizes too")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a run's measured steps (default 10)")
    parser.add_argument("--warmup", type=int, default=3, help="steps that PyTorch leaves out, and dtrain runs in addition")
    parser.add_argument("--json", default=str(REPOSITORY / "bench" / "results" / "compare_pytorch.json"))
    parser.add_argument("--require-speedup", type=float, help="fail below this ratio to PyTorch's best mode")
    parser.add_argument("--require-floor", type=float, help="fail below this share of the convolution floor")
    parser.add_argument("--require-memory", type=float, help="fail above this ratio of peak memory to PyTorch's best mode")
    options = parser.parse_args()
    binary = find_binary(options.dtrain)
    floor = find_floor(options.floor, binary)
    if options.require_floor and not floor:
        parser.error("--require-floor needs the floor program")

    conditions = rounds.conditions()
    with tempfile.TemporaryDirectory(prefix="dtrain-compare-") as folder:
        comparisons = [compare(model, options, binary, floor, Path(folder)) for model in options.models]
    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    print(table(comparisons))
    settings = {name: getattr(options, name) for name in ("rounds", "threads", "batch", "also_batches", "precision", "seconds",
                                                          "warmup")}
    rounds.write_json(options.json, {"conditions": conditions, "settings": settings, "comparisons": comparisons})
    requirements = []
    for one in comparisons:
        requirements += [rounds.Requirement(f"{one['model']}: dtrain / {one['best_pytorch']}", one["speedup"]["median"],
                                            options.require_speedup),
                         rounds.Requirement(f"{one['model']}: peak memory, dtrain / {one['best_pytorch']}",
                                            one["memory_of_best_pytorch"], options.require_memory, at_least=False)]
        if one["of_floor"]:
            requirements.append(rounds.Requirement(f"{one['model']}: dtrain / convolution floor", one["of_floor"]["median"],
                                                   options.require_floor))
    return rounds.judge(requirements)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failure:
        sys.exit(str(failure))
