#!/bin/sh
# What the exchange of gradients costs: ranks on this host with and without it, in interleaved rounds:
#   bench/exchange_overhead.sh [--model resnet50] [--ranks 2] [--ddp]        (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/exchange_overhead.py" "$@"
