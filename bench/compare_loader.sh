#!/bin/sh
# Speed of dtrain's input pipeline against torchvision's on the same files, one core each, in interleaved rounds:
#   bench/compare_loader.sh DIR[@500]... [--rounds 5] [--seconds 5]        (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/compare_loader.py" "$@"
