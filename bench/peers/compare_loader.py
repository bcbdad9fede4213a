"""Loads pictures with dtrain and with torchvision in turn, one thread of each on the same core: images/s a core.

With --against BENCH_LOADER the other program is dtrain's own, of another build: what a change cost or brought.

Both transforms are measured: training's (random area resized to 224, random mirror) and evaluation's (256, centre crop 224).
DIR@500 measures copies of DIR's JPEG files whose longer side has 500 pixels, the size of most of ImageNet's.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import rounds
from dtrain_command import REPOSITORY, CommandFailed, clean_environment, read_report, run

HERE = Path(__file__).resolve().parent
DEFAULT_BINARY = REPOSITORY / "build" / "release" / "bench" / "bench_loader"
TRANSFORMS = ("train", "eval")
OTHER_BUILD = "other build"
# Of normalised values, whose standard deviation is about 1. Random crops of 2000 pictures move the mean by a few thousandths,
# those of 50 pictures by a few hundredths; a channel's mean or scale left out moves it by 0.4 or more.
SAME_MOMENTS = 0.1


class Moments:
    """What each program found the pictures to be; equal work gives equal figures."""

    def __init__(self):
        self.of = {}

    def add(self, name, report):
        self.of[name] = (report["mean"], report["stddev"])

    def check(self, what):
        (mean, stddev), (other_mean, other_stddev) = self.of.values()
        if abs(mean - other_mean) > SAME_MOMENTS or abs(stddev - other_stddev) > SAME_MOMENTS:
            raise SystemExit(f"{what}: the programs' pictures differ (mean, stddev): {self.of}")


def resolve(argument, folder):
    """The directory that DIR or DIR@PIXELS names; copies are made below `folder`."""
    source, at, pixels = argument.rpartition("@")
    if not at or not pixels.isdigit():
        return Path(argument)
    from PIL import Image  # torchvision, measured here, brings it
    copies = folder / f"copies{pixels}-{len(list(folder.iterdir()))}"
    for file in sorted(Path(source).glob("*/*.jp*g")):
        place = copies / file.parent.name / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        picture = Image.open(file).convert("RGB")
        scale = int(pixels) / max(picture.size)
        picture.resize([max(1, round(extent * scale)) for extent in picture.size], Image.LANCZOS).save(place, quality=95)
    if not copies.is_dir():
        raise SystemExit(f"{argument}: no JPEG files in class folders below {source}")
    return copies


def on_core(core, command):
    return ["taskset", "-c", core, *command]


def measure_dtrain(options, binary, name, data, transform, moments, folder):
    def measure(seconds):
        file = folder / "loader.json"
        file.unlink(missing_ok=True)
        run(on_core(options.core, [binary, "--data", data, "--transform", transform, "--seconds", seconds, "--json", file]))
        report = read_report(file)
        moments.add(name, report)
        return rounds.Figures(report["images_per_s"])
    return rounds.Program(name, measure, 1)


def measure_torchvision(options, data, transform, moments):
    def measure(seconds):
        printed = run(on_core(options.core, [sys.executable, HERE / "loader_torchvision.py", "--data", data,
                                             "--transform", transform, "--seconds", seconds]),
                      environment=clean_environment(1))
        report = json.loads(printed)
        moments.add("torchvision", report)
        return rounds.Figures(report["images_per_s"])
    return rounds.Program("torchvision", measure, 1)


def compare(options, name, data, transform, folder):
    """Measures one folder and transform; returns its figures as they go into the JSON file."""
    print(f"{name}, {transform}; images/s of a core", flush=True)
    moments = Moments()
    other = measure_torchvision(options, data, transform, moments)
    if options.against:
        other = measure_dtrain(options, options.against, OTHER_BUILD, data, transform, moments, folder)
    programs = [measure_dtrain(options, options.binary, "dtrain", data, transform, moments, folder), other]
    results = rounds.run_rounds(programs, options.rounds, lambda _speed, _batch: options.seconds)
    moments.check(f"{name}, {transform}")
    return {"data": name, "transform": transform, "moments": moments.of,
            "programs": {name: rounds.summary(runs) for name, runs in results.items()},
            "ratio": rounds.ratio(results["dtrain"], results[other.name])}


def table(comparisons, other):
    def speed(one, name):
        figures = one["programs"][name]["images_per_s"]
        return f"{figures['median']:.0f} ({figures['min']:.0f} … {figures['max']:.0f})"
    rows = [[one["data"], one["transform"], speed(one, "dtrain"), speed(one, other), rounds.ratio_text(one["ratio"])]
            for one in comparisons]
    return rounds.markdown_table(["pictures", "transform", "dtrain", other, f"dtrain / {other}"], rows)


def main():
    parser = argparse.ArgumentParser(prog="bench/compare_loader.sh", description=__doc__.split("\n")[0])
    parser.add_argument("data", nargs="+", metavar="DIR[@PIXELS]",
                        help="holds class folders of JPEG files; with @PIXELS: scaled to that longer side")
    parser.add_argument("--bench-loader", dest="binary", type=Path, default=DEFAULT_BINARY,
                        help="the program (default: build/release/bench/bench_loader)")
    parser.add_argument("--against", type=Path, help="bench_loader of another build, instead of torchvision")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a run's measured part (default 5)")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="that both run on (default: the last)")
    parser.add_argument("--json", default=str(REPOSITORY / "bench" / "results" / "loader.json"))
    parser.add_argument("--require", type=float, help="fail below this ratio for any folder and transform")
    options = parser.parse_args()
    if not os.access(options.binary, os.X_OK):
        parser.error(f"{options.binary}: no executable there; build bench/, or name it with --bench-loader")

    conditions = rounds.conditions()
    with tempfile.TemporaryDirectory(prefix="dtrain-loader-") as folder:
        folders = {name: resolve(name, Path(folder)) for name in options.data}
        comparisons = [compare(options, name, data, transform, Path(folder))
                       for name, data in folders.items() for transform in TRANSFORMS]
    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    other = OTHER_BUILD if options.against else "torchvision"
    print(table(comparisons, other))
    settings = {name: getattr(options, name) for name in ("rounds", "seconds", "core")}
    rounds.write_json(options.json, {"conditions": conditions, "settings": settings, "comparisons": comparisons})
    return rounds.judge([rounds.Requirement(f"{one['data']}, {one['transform']}: dtrain / {other}", one["ratio"]["median"],
                                            options.require) for one in comparisons])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandFailed as failure:
        sys.exit(str(failure))
