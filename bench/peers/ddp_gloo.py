"""Trains a network in PyTorch's DistributedDataParallel over gloo, and prints one JSON object.

On this host, or across those of `bench/hosts.sh --no-mpi`. --batch and --threads are a rank's. A step takes as long as its
slowest rank; memory is the largest rank's.
"""

import argparse
import json
import sys

from torch.nn.parallel import DistributedDataParallel

import process_group
import timing


def train(rank, job, options):
    training = timing.SyntheticTraining(options, wrap=DistributedDataParallel)
    process_group.slowest([0.0])  # all are ready
    seconds, losses = timing.run(training, options.steps, options.warmup)
    seconds, largest = process_group.slowest(seconds), process_group.slowest([timing.peak_rss_bytes()])
    if rank == 0:
        print(json.dumps({"model": options.model, "batch": options.batch, "threads": options.threads, "ranks": job.ranks,
                          "hosts": job.hosts, "memory_format": options.memory_format, "precision": options.precision,
                          **timing.report(seconds, losses, options.batch * job.ranks), "peak_rss_bytes": int(largest[0])}),
              flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    timing.add_options(parser)
    parser.add_argument("--ranks", type=int, help="on one host (default 2); hosts.sh has its own")
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    if warning := timing.blas_warning():
        print(f"warning: {warning}", file=sys.stderr)
    process_group.run(train, options, options.ranks)


if __name__ == "__main__":
    main()
