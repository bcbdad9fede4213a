#!/bin/sh
# What each step of the large-batch recipe brings, on real pictures: a small batch, then a large one, plain, with warm-up, polynomial decay,
# scaled weight decay, a collapse, and a collapsed ensemble; accuracy over seeds as a table and a picture:
#   bench/recipe_ladder.sh CIFAR10 [--seeds 1,2,3] [--epochs 16] [--svg FILE]      (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/ladder.py" "$@"
