#!/bin/sh
# Parameter servers against all-reduces between hosts: images/s, scaling efficiency and exposed exchange, as a table and a picture:
#   bench/compare_servers.sh [--models alexnet,vgg16,resnet50,inception_v3] [--rate 1gbit]      (--help lists the rest)
exec "${PYTHON:-/usr/bin/python3}" "$(dirname "$0")/peers/servers.py" "$@"
