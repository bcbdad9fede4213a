#!/bin/sh
# Speed and peak memory of dtrain against PyTorch and the convolution floor, in interleaved rounds:
#   bench/compare_pytorch.sh resnet50 [--rounds 5] [--threads 2] [--batch 16]        (--help lists the rest)
# Debian's python3 sees Debian's PyTorch; PYTHON names another interpreter.
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/compare.py" "$@"
