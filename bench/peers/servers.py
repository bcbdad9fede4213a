"""Trains networks on hosts of network namespaces by parameter servers and by all-reduces, and says what the exchange leaves of the speed.

Efficiency is images/s over those of the same ranks on the same hosts with the exchange left out (--allreduce none): hosts of one
machine share its cores, so that speeds of different numbers of hosts say nothing about each other. A dedicated server is a host of
its own, with as fast a link as the others.
"""

import argparse
import importlib.util
import json
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

import rounds
from dtrain_command import REPOSITORY, CommandFailed, find_binary, run

HERE = Path(__file__).resolve().parent
MOST_HOSTS = 8  # of bench/hosts.sh
PLANNED_AFTER = 3  # steps; then dtrain has planned its overlap


@dataclass(frozen=True)
class Exchange:
    name: str
    options: tuple
    servers: int = 0  # dedicated


ALONE = Exchange("compute alone", ("--allreduce", "none"))
EXCHANGES = {
    **{f"ps{n}": Exchange(f"{n} server{'s' if n > 1 else ''}", ("--allreduce", "ps", "--parameter-servers", n), n) for n in (1, 2, 4)},
    "ps": Exchange("co-located servers", ("--allreduce", "ps")),
    "ring": Exchange("ring", ("--allreduce", "ring")),
    "hierarchical": Exchange("hierarchical", ("--allreduce", "hierarchical")),
}


@dataclass(frozen=True)
class Workers:
    hosts: int
    ranks_per_host: int

    @property
    def ranks(self):
        return self.hosts * self.ranks_per_host

    def can_use(self, exchange):
        """Dedicated servers are hosts of one rank; with one rank a host, the hierarchy is the ring."""
        if exchange.servers:
            return self.ranks_per_host == 1 and self.hosts + exchange.servers <= MOST_HOSTS
        return exchange.name != "hierarchical" or self.ranks_per_host > 1

    def __str__(self):
        return f"{self.hosts} × {self.ranks_per_host}"


def workers_of(text):
    return [Workers(*map(int, part.split("x"))) for part in text.split(",")]


def measure(binary, model, workers, exchange, options, folder):
    """Seconds of a step, and of waiting for the exchange in it: medians over the last steps, on rank 0."""
    metrics = folder / "metrics.jsonl"
    metrics.unlink(missing_ok=True)
    run(["bash", HERE.parent / "hosts.sh", "--hosts", workers.hosts + exchange.servers, "--ranks-per-host", workers.ranks_per_host,
         "--rate", options.rate, "--", binary, "--model", model, "--data", "synthetic", "--global-batch", options.batch * workers.ranks,
         "--local-batch", options.batch, "--steps", PLANNED_AFTER + options.steps, "--threads", 1, "--seed", 1, "--lr", 0.001,
         "--schedule", "constant", "--overlap", "forward", *exchange.options, "--metrics", metrics])
    lines = [json.loads(line) for line in metrics.read_text().splitlines()][PLANNED_AFTER:]
    if len(lines) != options.steps:
        raise CommandFailed(f"{metrics}: expected {options.steps} measured steps, found {len(lines)}")
    return {"step_s": statistics.median(line["step_s"] for line in lines),
            "exposed_s": statistics.median(line["exposed_comm_s"] for line in lines)}


def draw(path, results, rate, batch):
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "dtrain", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot
    arrangements = list(dict.fromkeys(row["workers"] for row in results))
    figure, axes = pyplot.subplots(len(arrangements), 1, figsize=(9, 2.4 * len(arrangements)), squeeze=False, layout="constrained")
    colours = {exchange.name: f"C{index}" for index, exchange in enumerate(EXCHANGES.values())}
    for axis, arrangement in zip(axes[:, 0], arrangements):
        rows = [row for row in results if row["workers"] == arrangement and row["exchange"] != ALONE.name]
        models = list(dict.fromkeys(row["model"] for row in rows))
        names = [exchange.name for exchange in EXCHANGES.values() if any(row["exchange"] == exchange.name for row in rows)]
        width = 0.8 / len(names)
        for place, name in enumerate(names):
            of_name = {row["model"]: row["efficiency"] for row in rows if row["exchange"] == name}
            axis.bar([index + (place - (len(names) - 1) / 2) * width for index in range(len(models))],
                     [100 * of_name[model] for model in models], width, label=name, color=colours[name])
        axis.set_xticks(range(len(models)), models)
        axis.set_ylim(0, 105)
        axis.set_ylabel("% of compute alone")
        axis.set_title(f"{arrangement} workers (hosts × ranks), {rate} links, batch {batch} a worker", loc="left")
        axis.legend(ncols=len(names), fontsize=8, loc="upper left", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    print(f"picture: {path}")


def main():
    parser = argparse.ArgumentParser(prog="bench/compare_servers.sh", description=__doc__.split("\n")[0])
    parser.add_argument("--models", default="alexnet,vgg16,resnet50,inception_v3")
    parser.add_argument("--workers", type=workers_of, default=workers_of("2x1,4x1,2x2"), help="hosts x ranks of each (default 2x1,4x1,2x2)")
    parser.add_argument("--exchanges", default=",".join(EXCHANGES), help=f"of {', '.join(EXCHANGES)} (default all)")
    parser.add_argument("--rate", default="1gbit", help="of each host's link (default 1gbit)")
    parser.add_argument("--batch", type=int, default=4, help="pictures a worker (default 4)")
    parser.add_argument("--steps", type=int, default=3, help="measured, after three (default 3)")
    parser.add_argument("--dtrain", help="the binary (default: $DTRAIN, or build/release/launch/dtrain)")
    parser.add_argument("--json", default=str(REPOSITORY / "bench" / "results" / "servers.json"))
    parser.add_argument("--svg", help="the picture (default: none; needs python3-matplotlib)")
    parser.add_argument("--from-json", help="draws and prints what an earlier run measured")
    options = parser.parse_args()
    if options.svg and importlib.util.find_spec("matplotlib") is None:
        raise SystemExit("--svg: expected python3-matplotlib, found none; try: bash launch/packages.sh --with-pictures")
    if options.from_json:
        kept = json.loads(Path(options.from_json).read_text())
        conditions, settings, results = kept["conditions"], kept["settings"], kept["results"]
    else:
        conditions, results = rounds.conditions(), []
        settings = {"rate": options.rate, "batch": options.batch, "steps": options.steps}
        binary = find_binary(options.dtrain)
        for model in options.models.split(","):
            for workers in options.workers:
                alone_s = None
                for exchange in [ALONE, *(EXCHANGES[name] for name in options.exchanges.split(","))]:
                    if not workers.can_use(exchange):
                        continue
                    with tempfile.TemporaryDirectory(prefix="dtrain-servers-") as folder:
                        figures = measure(binary, model, workers, exchange, options, Path(folder))
                    alone_s = alone_s or figures["step_s"]
                    results.append({"model": model, "workers": str(workers), "exchange": exchange.name, **figures,
                                    "images_per_s": options.batch * workers.ranks / figures["step_s"],
                                    "efficiency": alone_s / figures["step_s"]})
                    print(f"{model}, {workers}, {exchange.name}: {results[-1]['images_per_s']:.2f} images/s", flush=True)
        rounds.write_json(options.json, {"conditions": conditions, "settings": settings, "results": results})
    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    print(rounds.markdown_table(
        [f"{settings['rate']}, batch {settings['batch']} a worker, f32", "workers", "exchange", "images/s", "step, ms", "exposed exchange, ms",
         "efficiency"],
        [[row["model"], row["workers"], row["exchange"], f"{row['images_per_s']:.2f}", f"{1e3 * row['step_s']:.0f}",
          f"{1e3 * row['exposed_s']:.0f}", f"{row['efficiency']:.2f}"] for row in results]))
    if options.svg:
        draw(Path(options.svg), results, settings["rate"], settings["batch"])


if __name__ == "__main__":
    main()
