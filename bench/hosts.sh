#!/usr/bin/env bash
# Makes hosts out of this machine's network namespaces, joins them by a switch of limited speed, runs a command across them, and
# counts what each of them sent and received:
#   bench/hosts.sh --hosts 4 --ranks-per-host 2 --rate 1gbit -- build/release/bench/bench_allreduce
# Options (defaults):
#   --hosts N (2)            2 to 8 of them: host1 is 10.9.0.1, and so on; each has its own host name, network and /dev/shm
#   --ranks-per-host R (1)   under Open MPI's mpirun: TCP between hosts, shared memory within one
#   --rate RATE (1gbit)      of each host's link, as much each way: a whole number of kbit, mbit or gbit
#   --env NAME=VALUE         for the command's ranks; repeatable
#   --mca KEY VALUE          for mpirun; repeatable
#   --no-mpi                 starts the command once a host instead, without mpirun, with HOST_INDEX (from 0), HOSTS,
#                            RANKS_PER_HOST, MASTER_ADDR, MASTER_PORT and GLOO_SOCKET_IFNAME in its environment
#   --link-down K --after S  pulls host K's cable S seconds after the command started; its peers see silence
#   --json FILE              writes there what is printed at the end
# At the end each host's bytes on its link are printed, on stderr: all frames with their headers, while the command ran.
# mpirun's start-up is part of it; `-- true` shows how much.
# Exit code: the command's; 2: wrong options; 77: this machine or user may not make namespaces (one line says why).
# TERM and INT end the command, USR1 and USR2 reach it. However it ends, processes, namespaces and shared memory go with it.
set -euo pipefail

usage() {
  sed -n '2,20s/^# \{0,1\}//p' "$0"
}
fail() {
  echo "hosts.sh: $*" >&2
  exit 2
}
skip() {
  echo "hosts.sh: skipped: $*" >&2
  exit 77
}
matching() {
  [[ $2 =~ ^($3)$ ]] || fail "$1: expected $4, found '$2'"
}

hosts=2 ranks_per_host=1 rate=1gbit launcher=mpirun link_down="" after="" json=""
variables=() parameters=()
while [ $# -gt 0 ]; do
  case "$1" in
    --hosts | --ranks-per-host | --rate | --env | --mca | --link-down | --after | --json)
      [ $# -ge 2 ] || fail "$1: expected a value"
      case "$1" in
        --hosts) matching "$1" "$2" '[2-8]' "2 to 8" && hosts=$2 ;;
        --ranks-per-host) matching "$1" "$2" '[1-9][0-9]{0,2}' "a whole number from 1" && ranks_per_host=$2 ;;
        --rate) matching "$1" "$2" '[1-9][0-9]{0,3}[kmg]bit' "a rate such as 1gbit or 250mbit" && rate=$2 ;;
        --env) matching "$1" "$2" '[A-Za-z_][A-Za-z0-9_]*=.*' "NAME=VALUE" && variables+=("$2") ;;
        --mca)
          [ $# -ge 3 ] || fail "--mca: expected a key and a value"
          parameters+=(--mca "$2" "$3")
          shift
          ;;
        --link-down) matching "$1" "$2" '[1-8]' "a host's number" && link_down=$2 ;;
        --after) matching "$1" "$2" '[0-9]+(\.[0-9]+)?' "seconds" && after=$2 ;;
        --json) json=$2 ;;
      esac
      shift 2
      ;;
    --no-mpi)
      launcher=none
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
    *) fail "unknown option '$1'; the command follows --" ;;
  esac
done
[ $# -gt 0 ] || fail "expected a command after --"
[ "${link_down:+given}" = "${after:+given}" ] || fail "--link-down and --after: expected both or neither"
[ "${link_down:-1}" -le "$hosts" ] || fail "--link-down: expected a host from 1 to $hosts, found '$link_down'"
[ "$launcher" = mpirun ] || [ ${#parameters[@]} -eq 0 ] || fail "--mca: it is mpirun's, which --no-mpi does without"
[ "$launcher" = none ] || command -v mpirun >/dev/null || fail "no mpirun in PATH; install openmpi-bin, or use --no-mpi"
command=("$@")
# Opened here: the hosts see another /dev/shm.
exec 3>/dev/null
[ -z "$json" ] || { exec 3>"$json"; } 2>/dev/null || fail "--json: cannot write '$json'"

for tool in ip tc unshare nsenter setpriv; do
  command -v "$tool" >/dev/null || skip "no $tool (Debian's iproute2 and util-linux have ip, tc and the others)"
done

# Note [Nothing outlives the script]
# All of it happens inside namespaces of this run's own, which have no names: processes, mounts, network. The kernel kills their
# first process when `unshare` dies, and `unshare` when this script does; with the first process all others there end, and then
# the namespaces.
enter=(setpriv --pdeathsig KILL unshare --net --mount --pid --fork --kill-child --mount-proc)
[ "$(id -u)" -eq 0 ] || enter+=(--user --map-root-user)
probe='ip link add switch type bridge && ip link add port1 type veth peer name eth0 &&
  tc qdisc add dev port1 root tbf rate 1gbit burst 32kb latency 50ms'
reason=$("${enter[@]}" sh -c "$probe && unshare --uts --mount mount -t tmpfs tmpfs /dev/shm" 2>&1) ||
  skip "no namespaces with a limited link for this user here: ${reason//$'\n'/; }"

# In a session of its own, so that Ctrl-C comes from here alone.
here=$(cd "$(dirname "$0")" && pwd)
settings=$(declare -p hosts ranks_per_host rate launcher link_down after variables parameters command)
setsid "${enter[@]}" bash -c "$settings; source $(printf %q "$here/hosts/inside.sh")" &
unshare=$!

# Passes a signal on to the first process in there; after TERM nothing stays longer than 20 s.
pass() {
  local status first=""
  for status in /proc/[0-9]*/status; do
    if grep -qs "^PPid:[[:space:]]*$unshare\$" "$status"; then first=${status//[!0-9]/}; fi
  done
  if [ -z "$first" ] || ! kill -s "$1" "$first"; then kill -s KILL "$unshare" 2>/dev/null || true; fi
  [ "$1" = TERM ] || return 0
  for _ in {1..100}; do
    kill -s 0 "$unshare" 2>/dev/null || return 0
    sleep 0.2
  done
  echo "hosts.sh: the command did not end within 20 s of being asked to; killed" >&2
  kill -s KILL "$unshare"
}
trap 'pass TERM' TERM INT HUP
trap 'pass USR1' USR1
trap 'pass USR2' USR2
# A signal ends the waiting, not what is waited for, whose exit code stays to be asked for.
wait "$unshare" 2>/dev/null || true
while kill -s 0 "$unshare" 2>/dev/null; do wait "$unshare" 2>/dev/null || true; done
code=0
wait "$unshare" || code=$?
exit "$code"
