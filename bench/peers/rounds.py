"""Measures several programs in turn, round after round, so that what disturbs a shared machine disturbs all of them.

A ratio of two programs is taken within each round; its median and its extremes over the rounds are reported.
"""

import json
import math
import os
import platform
import statistics
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from dtrain_command import REPOSITORY


@dataclass
class Program:
    """measure(steps) runs the program and returns images_per_s and, where it has them, peak_rss_bytes and losses."""
    name: str
    measure: Callable
    batch: int  # pictures a step, all ranks together


@dataclass(frozen=True)
class Figures:
    """What one run of a program gave."""
    images_per_s: float
    peak_rss_bytes: int = 0


def figures_of(report, name):
    """Figures from a report of dtrain or of our PyTorch programs; a run that did not train has none."""
    losses = [report["loss_first"], report["loss_last"]]
    if not all(loss is not None and math.isfinite(loss) for loss in losses):
        raise SystemExit(f"{name}: losses {losses}: expected finite ones; its speed says nothing")
    return Figures(report["images_per_s"]["median"], report["peak_rss_bytes"])


def run_rounds(programs, rounds, choose_steps):
    """Returns name -> list of Figures, one a round. Each round begins with another program.

    choose_steps(images_per_s, batch) turns the speed of a first, uncounted run of two steps into the steps of the others."""
    steps = {}
    for program in programs:
        steps[program.name] = choose_steps(program.measure(2).images_per_s, program.batch)
    results = {program.name: [] for program in programs}
    for index in range(rounds):
        for offset in range(len(programs)):
            program = programs[(index + offset) % len(programs)]
            results[program.name].append(program.measure(steps[program.name]))
        print(f"round {index + 1} of {rounds}: "
              + ", ".join(f"{name} {runs[-1].images_per_s:.2f}" for name, runs in results.items()), flush=True)
    return results


def summary(runs):
    """Median and extremes of a program's images/s, and its largest peak memory."""
    speeds = [run.images_per_s for run in runs]
    return {"images_per_s": {"median": statistics.median(speeds), "min": min(speeds), "max": max(speeds)},
            "peak_rss_bytes": max(run.peak_rss_bytes for run in runs)}


def ratio(runs, other_runs):
    """Of images/s, round by round."""
    ratios = [run.images_per_s / other.images_per_s for run, other in zip(runs, other_runs)]
    return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}


def ratio_text(value):
    return f"{value['median']:.3f} ({value['min']:.3f} … {value['max']:.3f})"


def gigabytes(size_bytes):
    return f"{size_bytes / 1e9:.2f}" if size_bytes else "–"


def markdown_table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def conditions():
    """The machine and the commit that figures belong to."""
    cpu = next((line.split(":", 1)[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
                if line.startswith("model name")), platform.machine())
    git = ["git", "-C", str(REPOSITORY)]
    commit = subprocess.run([*git, "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {"cpu": cpu, "usable_cpus": len(os.sched_getaffinity(0)), "system": platform.platform(),
            "load_before": os.getloadavg()[0], "commit": commit.stdout.strip() or "unknown",
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z")}


def write_json(path, content):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
    print(f"figures: {path}")


@dataclass(frozen=True)
class Requirement:
    """A figure and the limit it must keep, when one was given."""
    name: str
    figure: float
    limit: float | None
    at_least: bool = True

    def kept(self):
        if self.limit is None:
            return True
        return self.figure >= self.limit if self.at_least else self.figure <= self.limit


def judge(requirements):
    """Prints the requirements that have limits; returns the exit code."""
    for requirement in requirements:
        if requirement.limit is not None:
            print(f"{'ok  ' if requirement.kept() else 'FAIL'}  {requirement.name}: {requirement.figure:.3f} "
                  f"{'≥' if requirement.at_least else '≤'} {requirement.limit:g}")
    return 0 if all(requirement.kept() for requirement in requirements) else 1
