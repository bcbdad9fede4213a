#!/bin/sh
# How much of the exchange of gradients computing hides: compute alone, exchange alone, both; on this host, or between hosts of namespaces:
#   bench/bench_overlap.sh [--model resnet50] [--batch 16] [--ranks 2] [--hosts 2 --rate 1gbit] [--ddp]      (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/overlap.py" "$@"
