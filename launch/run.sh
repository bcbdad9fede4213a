#!/usr/bin/env bash
# Starts dtrain with two ranks on every node, and shows the mpirun line that does it.
#   launch/run.sh -- --data DIR --model resnet50                                  on this machine
#   launch/run.sh --hosts n1,n2,n3,n4 -- --data DIR --model resnet50              on four
#   launch/run.sh --nodes 4 -- …                                                  in a SLURM or PBS allocation of four nodes
# Options: --nodes N · --ranks-per-node R (2) · --hosts A,B,… · --hostfile FILE · --dry-run (only shows the line)
# DTRAIN names another program than build/release/launch/dtrain.
# Exit code: dtrain's; 4 also when a rank was killed or its host lost, for which mpirun has codes of its own (128 + signal, 205).
# TERM, HUP, INT, USR1 and USR2 go to mpirun.
set -euo pipefail

usage() {
  sed -n '2,9s/^# \{0,1\}//p' "$0"
}
fail() {
  echo "run.sh: $*" >&2
  exit 2
}
positive() {
  case "$2" in
    '' | *[!0-9]* | 0*) fail "$1: expected a whole number from 1, found '$2'" ;;
  esac
}

nodes=""
ranks_per_node=2
hosts=""
hostfile=""
dry_run=no
while [ $# -gt 0 ]; do
  case "$1" in
    --nodes | --ranks-per-node | --hosts | --hostfile)
      [ $# -ge 2 ] || fail "$1: expected a value"
      case "$1" in
        --nodes) nodes=$2 ;;
        --ranks-per-node) ranks_per_node=$2 ;;
        --hosts) hosts=$2 ;;
        --hostfile) hostfile=$2 ;;
      esac
      shift 2
      ;;
    --dry-run)
      dry_run=yes
      shift
      ;;
    --help | -h)
      usage
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *) fail "unknown option '$1'; dtrain's own options follow --" ;;
  esac
done
positive --ranks-per-node "$ranks_per_node"
[ -z "$hosts" ] || [ -z "$hostfile" ] || fail "--hosts and --hostfile: expected one of them"

# mpirun counts slots: each host offers as many as it shall have ranks.
where=()
if [ -n "$hosts" ]; then
  IFS=, read -r -a names <<<"$hosts"
  list=""
  for name in "${names[@]}"; do list+="${list:+,}$name:$ranks_per_node"; done
  where=(--host "$list")
  : "${nodes:=${#names[@]}}"
elif [ -n "$hostfile" ]; then
  [ -r "$hostfile" ] || fail "--hostfile: cannot read '$hostfile'"
  where=(--hostfile "$hostfile")
  : "${nodes:=$(grep -cvE '^[[:space:]]*(#|$)' "$hostfile")}"
else
  : "${nodes:=${SLURM_JOB_NUM_NODES:-1}}"
  # Alone on a machine with fewer cores than ranks.
  if [ "$nodes" = 1 ] && [ "$(nproc)" -lt "$ranks_per_node" ]; then where=(--oversubscribe); fi
fi
positive --nodes "$nodes"

root=$(cd "$(dirname "$0")/.." && pwd)
program=${DTRAIN:-$root/build/release/launch/dtrain}
if [ ! -x "$program" ] && [ "$dry_run" = no ]; then
  fail "no program at $program; build it (cmake --preset release && cmake --build --preset release) or set DTRAIN"
fi
# mpirun takes eight minutes to notice a host that fell silent, and more once it has something to say to it: a job that dtrain ends would
# leave it hanging. It shall notice a little before dtrain's --stall-timeout: first question after `unit` seconds without traffic, four
# answers missed. It then asks the ranks to end, who say whom they were waiting for.
stall=60
previous=""
for word in "$@"; do
  case "$previous=$word" in
    --stall-timeout=*) stall=$word ;;
    *=--stall-timeout=*) stall=${word#*=} ;;
  esac
  previous=$word
done
stall=${stall%%.*}
case "$stall" in '' | *[!0-9]* | ??????*) stall=60 ;; esac # dtrain refuses it
unit=$((stall / 6 > 0 ? stall / 6 : 1))
missed=$((stall >= 6 ? 4 : stall > 3 ? stall - 2 : 1))
if [ "$nodes" -gt 1 ]; then
  where+=(--mca oob_tcp_keepalive_time "$unit" --mca oob_tcp_keepalive_intvl "$unit" --mca oob_tcp_keepalive_probes "$missed")
fi
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

# --bind-to none: dtrain divides the cores of each node among its ranks, inside NUMA domains where possible, and pins its threads.
line=(mpirun -np $((nodes * ranks_per_node)) --map-by "ppr:$ranks_per_node:node" --bind-to none "${where[@]}" "$program" "$@")
printf '%q ' "${line[@]}"
echo
if [ "$dry_run" = yes ]; then exit 0; fi

# In a process group of its own, so that Ctrl-C reaches it once, from here.
set -m
"${line[@]}" </dev/null &
mpirun=$!
set +m
asked_to_end=no
trap 'asked_to_end=yes; kill -s TERM "$mpirun"' TERM HUP
trap 'asked_to_end=yes; kill -s INT "$mpirun"' INT
trap 'kill -s USR1 "$mpirun"' USR1
trap 'kill -s USR2 "$mpirun"' USR2
# A signal to this script ends the waiting, not mpirun, whose exit code stays to be asked for.
wait "$mpirun" || true
while kill -s 0 "$mpirun" 2>/dev/null; do wait "$mpirun" || true; done
code=0
wait "$mpirun" || code=$?
if [ "$asked_to_end" = no ] && [ "$code" -gt 128 ]; then
  if [ "$code" -eq 205 ]; then
    echo "run.sh: mpirun lost a host; exit code 4" >&2
  else
    echo "run.sh: a rank was ended by signal $((code - 128)); exit code 4" >&2
  fi
  exit 4
fi
exit "$code"
