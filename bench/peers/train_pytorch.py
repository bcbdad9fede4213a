"""Trains a network in PyTorch on one random batch and prints images/s, peak memory and loss as one JSON object.

PyTorch as its documentation says to use it: gradients set to None, no copy of the batch, no data loading.
"""

import argparse
import json
import sys

import torch

import timing


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    timing.add_options(parser)
    options = parser.parse_args()
    if warning := timing.blas_warning():
        print(f"warning: {warning}", file=sys.stderr)
    torch.set_num_threads(options.threads)
    imported_bytes = timing.peak_rss_bytes()
    seconds, losses = timing.run(timing.SyntheticTraining(options), options.steps, options.warmup)
    print(json.dumps({"model": options.model, "batch": options.batch, "threads": torch.get_num_threads(),
                      "memory_format": options.memory_format, "precision": options.precision,
                      "imported_rss_bytes": imported_bytes, **timing.report(seconds, losses, options.batch)}))


if __name__ == "__main__":
    main()
