#!/usr/bin/env bash
# Starts dtrain with two ranks on every node, and shows the mpirun line that does it.
#   launch/run.sh -- --data DIR --model resnet50                                  on this machine
#   launch/run.sh --hosts n1,n2,n3,n4 -- --data DIR --model resnet50              on four
#   launch/run.sh --hosts n1:4,n2:2 -- …                                          four ranks on n1, two on n2
#   launch/run.sh --nodes 4 -- …                                                  in a SLURM or PBS allocation of four nodes
# Options: --nodes N · --ranks-per-node R (2) · --hosts A,B:RANKS,… · --hostfile FILE · --dry-run (only shows the line)
# A hostfile has a host a line, with slots=N for N ranks on it; a host in several lines ($PBS_NODEFILE) has a rank for each of them.
# DTRAIN names another program than build/release/launch/dtrain.
# Exit code: dtrain's, by OUT/status.json where the run has --out; 4 also when a rank was killed, its host lost or mpirun failed, for
# which mpirun has codes of its own (128 + signal, 205, 255).
# TERM, HUP, INT, USR1 and USR2 go to mpirun.
set -euo pipefail

usage() {
  sed -n '2,13s/^# \{0,1\}//p' "$0"
}
fail() {
  echo "run.sh: $*" >&2
  exit 2
}
positive() {
  case "$2" in
    '' | *[!0-9]* | 0* | ???????*) fail "$1: expected a whole number from 1, found '$2'" ;;
  esac
}

nodes=""
ranks_per_node=""
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
[ -z "$ranks_per_node" ] || positive --ranks-per-node "$ranks_per_node"
[ -z "$nodes" ] || positive --nodes "$nodes"
[ -z "$hosts" ] || [ -z "$hostfile" ] || fail "--hosts and --hostfile: expected one of them"

# Hosts in the order in which they are first named, and how many ranks each is to have: what is said of it adds up.
names=()
declare -A given=() mentions=()
add_host() { # SOURCE NAME RANKS (empty: not said)
  case "$2" in '' | -* | *[!A-Za-z0-9._@-]*) fail "$1: expected the name of a host, found '$2'" ;; esac
  if [ -z "${mentions[$2]:-}" ]; then
    names+=("$2")
    mentions[$2]=0
    given[$2]=0
  fi
  if [ -n "$3" ]; then
    positive "$1, ranks of '$2'" "$3"
    given[$2]=$((given[$2] + $3))
  else
    mentions[$2]=$((mentions[$2] + 1))
  fi
}
ranks_on() { # NAME
  local said=${given[$1]} bare=${mentions[$1]}
  if [ "$said" -gt 0 ]; then
    echo $((said + bare))
  elif [ -n "$ranks_per_node" ] || [ "$bare" -eq 1 ]; then
    echo "${ranks_per_node:-2}"
  else
    echo "$bare"
  fi
}

# mpirun counts slots: each host offers as many as it shall have ranks.
where=()
if [ -n "$hosts" ]; then
  IFS=, read -r -a words <<<"$hosts,"
  for word in "${words[@]}"; do
    case "$word" in
      *:*) add_host --hosts "${word%%:*}" "${word#*:}" ;;
      *) add_host --hosts "$word" "" ;;
    esac
  done
elif [ -n "$hostfile" ]; then
  [ -r "$hostfile" ] || fail "--hostfile: cannot read '$hostfile'"
  while read -r name rest || [ -n "$name" ]; do
    case "$name" in '' | '#'*) continue ;; esac
    slots=""
    for word in ${rest%%#*}; do
      case "$word" in slots=*) slots=${word#slots=} ;; esac
    done
    case "$name" in *:*) slots=${name#*:} name=${name%%:*} ;; esac
    add_host "--hostfile $hostfile" "$name" "$slots"
  done <"$hostfile"
  [ ${#names[@]} -gt 0 ] || fail "--hostfile: expected hosts in '$hostfile', found none"
fi

ranks=0
if [ ${#names[@]} -gt 0 ]; then
  : "${nodes:=${#names[@]}}"
  [ "$nodes" -le ${#names[@]} ] || fail "--nodes $nodes: expected at most as many as hosts are named, ${#names[@]}"
  names=("${names[@]:0:nodes}")
  list=""
  same=$(ranks_on "${names[0]}")
  for name in "${names[@]}"; do
    count=$(ranks_on "$name")
    list+="${list:+,}$name:$count"
    ranks=$((ranks + count))
    [ "$count" = "$same" ] || same=""
  done
  where=(--host "$list")
  # Hosts with different numbers of ranks are filled one after the other.
  if [ -n "$same" ]; then map=(--map-by "ppr:$same:node"); else map=(--map-by slot); fi
else
  : "${ranks_per_node:=2}"
  : "${nodes:=${SLURM_JOB_NUM_NODES:-1}}"
  positive SLURM_JOB_NUM_NODES "$nodes"
  ranks=$((nodes * ranks_per_node))
  map=(--map-by "ppr:$ranks_per_node:node")
  # Alone on a machine with fewer cores than ranks.
  if [ "$nodes" = 1 ] && [ "$(nproc)" -lt "$ranks_per_node" ]; then where=(--oversubscribe); fi
fi

root=$(cd "$(dirname "$0")/.." && pwd)
program=${DTRAIN:-$root/build/release/launch/dtrain}
if [ ! -x "$program" ] && [ "$dry_run" = no ]; then
  fail "no program at $program; build it (cmake --preset release && cmake --build --preset release) or set DTRAIN"
fi
# mpirun takes eight minutes to notice a host that fell silent, and more once it has something to say to it: a job that dtrain ends would
# leave it hanging. It shall notice a little before dtrain's --stall-timeout: first question after `unit` seconds without traffic, four
# answers missed. It then asks the ranks to end, who say whom they were waiting for.
stall=60
out=""
previous=""
for word in "$@"; do
  case "$previous=$word" in
    --stall-timeout=*) stall=$word ;;
    *=--stall-timeout=*) stall=${word#*=} ;;
    --out=*) out=$word ;;
    *=--out=*) out=${word#*=} ;;
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
line=(mpirun -np "$ranks" "${map[@]}" --bind-to none "${where[@]}" "$program" "$@")
printf '%q ' "${line[@]}"
echo
if [ "$dry_run" = yes ]; then exit 0; fi
command -v mpirun >/dev/null || fail "no mpirun on the path; install Open MPI (bash launch/packages.sh), or add its bin directory to PATH"

# What status.json says of a run: state, exit_code, …; empty: it does not.
status() {
  if [ -n "$out" ]; then sed -n "s/^ \"$1\": \"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" "$out/status.json" 2>/dev/null || true; fi
}
run_before=$(status started)/$(status pid)

# Why mpirun may not have been able to start the ranks, as far as that can be found out here. Names that ssh alone knows count, too.
explain_failure() {
  local name real
  for name in "${names[@]}"; do
    real=$(ssh -G "$name" 2>/dev/null | sed -n 's/^hostname //p' || true)
    getent hosts "${real:-$name}" >/dev/null || echo "run.sh: no host of the name '$name' is known to this machine (getent hosts ${real:-$name})" >&2
  done
  if [ ${#names[@]} -eq 0 ] && [ "$nodes" -gt 1 ]; then
    echo "run.sh: $nodes nodes with $ranks_per_node ranks were asked for; if the allocation has fewer slots: --nodes, --ranks-per-node" >&2
  fi
}

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
# The run's own word, where it left one: mpirun has codes of its own, and loses others.
if [ "$(status started)/$(status pid)" != "$run_before" ] && [[ $(status exit_code) =~ ^[0-9]+$ ]]; then
  own=$(status exit_code)
  [ "$own" = "$code" ] || echo "run.sh: mpirun's exit code is $code; the run's, by $out/status.json, is $own" >&2
  exit "$own"
fi
if [ "$asked_to_end" = yes ]; then exit "$code"; fi
case "$code" in
  205)
    echo "run.sh: mpirun lost a host; exit code 4" >&2
    exit 4
    ;;
  132)
    echo "run.sh: a rank was ended by signal 4, or mpirun could not start $program on every host (it says so above); exit code 4" >&2
    exit 4
    ;;
esac
if [ "$code" -gt 128 ] && [ "$code" -le 192 ]; then
  echo "run.sh: a rank was ended by signal $((code - 128)); exit code 4" >&2
  exit 4
fi
if [ "$code" -gt 192 ]; then
  echo "run.sh: mpirun failed, with its code $code, and says above why; exit code 4" >&2
  explain_failure
  exit 4
fi
if [ "$code" -eq 1 ]; then explain_failure; fi
exit "$code"
