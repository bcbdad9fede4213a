"""Times torch.distributed's all_reduce over gloo, every sum checked, and prints one JSON object a size.

On this host, or across those of `bench/hosts.sh --no-mpi`. Times are the slowest rank's: median, 10th and 90th percentile.
Measured as bench_allreduce does: every rank writes its contribution before each call, then all start together.
"""

import argparse
import json
import time

import torch
import torch.distributed as distributed

import process_group
import timing

RESNET50_BYTES = 4 * 25557032
WARM_UPS = 2


def contribution(rank, count):
    """Small integers, so that a sum is exact in any order."""
    return ((torch.arange(count) + rank) % 5 + rank).to(torch.float32)


def time_calls(given, expected, values, calls):
    """Seconds a call on this rank."""
    elapsed_s = 0.0
    for _ in range(calls):
        values.copy_(given)
        distributed.barrier()
        start_s = time.perf_counter()
        distributed.all_reduce(values)
        elapsed_s += time.perf_counter() - start_s
        if not torch.equal(values, expected):
            raise SystemExit(f"all_reduce of {values.numel()} elements: wrong sums")
    return elapsed_s / calls


def measure(rank, job, options):
    for size_bytes in options.bytes:
        count = size_bytes // 4
        given, values = contribution(rank, count), torch.empty(count)
        expected = sum(contribution(other, count) for other in range(job.ranks))
        calls = min(max(262144 // count, 1), 100)  # a time is the mean of several short calls
        seconds = process_group.slowest([time_calls(given, expected, values, calls)
                                         for _ in range(WARM_UPS + options.repetitions)][WARM_UPS:])
        if rank == 0:
            print(json.dumps({"bytes": 4 * count, "algorithm": "gloo", "ranks": job.ranks, "hosts": job.hosts,
                              "repetitions": options.repetitions,
                              **{f"{name}_us": round(1e6 * timing.percentile(seconds, share), 2)
                                 for name, share in [("median", 0.5), ("p10", 0.1), ("p90", 0.9)]},
                              "versions": {"torch": torch.__version__}}), flush=True)


def sizes(text):
    values = [int(part) for part in text.split(",")]
    if any(value < 4 or value % 4 for value in values):
        raise ValueError(text)
    return values


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--bytes", type=sizes, default=[4096 * 4**step for step in range(8)] + [RESNET50_BYTES],
                        help="sizes to sum, multiples of 4 (default 4096,16384 … 67108864,102228128)")
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--ranks", type=int, help="on one host (default 2); hosts.sh has its own")
    parser.add_argument("--threads", type=int, default=1, help="of each rank (default 1)")
    options = parser.parse_args()
    process_group.run(measure, options, options.ranks)


if __name__ == "__main__":
    main()
