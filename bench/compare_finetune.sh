#!/bin/sh
# Top-1 of `dtrain --preset finetune` against PyTorch with the same batches' sizes, rates and augmentation, from the same weights:
#   bench/compare_finetune.sh --weights squeezenet1_1.safetensors --data DIR --classes 2,5      (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/compare_finetune.py" "$@"
