"""Trains a network in PyTorch's DistributedDataParallel over gloo, on one host, and prints one JSON object.

--batch and --threads are a rank's. A step takes as long as its slowest rank; memory is the largest rank's.
"""

import argparse
import json
import sys
import tempfile

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch.nn.parallel import DistributedDataParallel

import timing


def run_rank(rank, options, meeting_file):
    torch.set_num_threads(options.threads)
    distributed.init_process_group("gloo", init_method=f"file://{meeting_file}", rank=rank, world_size=options.ranks)
    training = timing.SyntheticTraining(options, wrap=DistributedDataParallel)
    distributed.barrier()
    seconds, losses = timing.run(training, options.steps, options.warmup)
    slowest, largest = torch.tensor(seconds, dtype=torch.float64), torch.tensor([timing.peak_rss_bytes()])
    distributed.all_reduce(slowest, distributed.ReduceOp.MAX)
    distributed.all_reduce(largest, distributed.ReduceOp.MAX)
    if rank == 0:
        print(json.dumps({"model": options.model, "batch": options.batch, "threads": options.threads, "ranks": options.ranks,
                          "memory_format": options.memory_format, "precision": options.precision,
                          **timing.report(slowest.tolist(), losses, options.batch * options.ranks),
                          "peak_rss_bytes": int(largest)}), flush=True)
    distributed.destroy_process_group()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    timing.add_options(parser)
    parser.add_argument("--ranks", type=int, default=2)
    parser.set_defaults(threads=1)
    options = parser.parse_args()
    if warning := timing.blas_warning():
        print(f"warning: {warning}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="dtrain-ddp-") as folder:
        multiprocessing.spawn(run_rank, (options, f"{folder}/meeting"), nprocs=options.ranks)


if __name__ == "__main__":
    main()
