"""Starts the ranks of a torch.distributed job over gloo: all on this host, or this host's of those between bench/hosts.sh's."""

import os
import tempfile
from dataclasses import dataclass

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing


@dataclass(frozen=True)
class Job:
    """Where the ranks are and how they find each other."""
    hosts: int
    ranks: int  # on all hosts
    first_rank: int  # of this host
    meeting: str  # init_method


def job_from(environment, ranks, meeting_file):
    """The job that hosts.sh's variables describe; without them `ranks` ranks (2) on this host, which meet in a file."""
    if "HOST_INDEX" not in environment:
        return Job(hosts=1, ranks=ranks or 2, first_rank=0, meeting=f"file://{meeting_file}")
    hosts, ranks_per_host = int(environment["HOSTS"]), int(environment["RANKS_PER_HOST"])
    if ranks not in (None, hosts * ranks_per_host):
        raise SystemExit(f"--ranks {ranks}: expected {hosts * ranks_per_host}, for hosts.sh made {hosts} hosts of "
                         f"{ranks_per_host}; leave --ranks out")
    return Job(hosts=hosts, ranks=hosts * ranks_per_host, first_rank=int(environment["HOST_INDEX"]) * ranks_per_host,
               meeting=f"tcp://{environment['MASTER_ADDR']}:{environment['MASTER_PORT']}")


def run_rank(index, function, job, options):
    torch.set_num_threads(options.threads)
    rank = job.first_rank + index
    distributed.init_process_group("gloo", init_method=job.meeting, rank=rank, world_size=job.ranks)
    function(rank, job, options)
    distributed.destroy_process_group()


def run(function, options, ranks=None):
    """Calls function(rank, job, options) in a process for each of this host's ranks, with options.threads threads."""
    with tempfile.TemporaryDirectory(prefix="dtrain-gloo-") as folder:
        job = job_from(os.environ, ranks, f"{folder}/meeting")
        multiprocessing.spawn(run_rank, (function, job, options), nprocs=job.ranks // job.hosts)


def slowest(seconds):
    """The largest of all ranks' values, one by one."""
    values = torch.tensor(seconds, dtype=torch.float64)
    distributed.all_reduce(values, distributed.ReduceOp.MAX)
    return values.tolist()
