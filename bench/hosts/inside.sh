# The part of bench/hosts.sh that runs inside its namespaces, as their first process: builds the hosts and the switch, runs the
# command and reports the traffic. Sourced, with hosts.sh's settings as variables; file descriptor 3 takes the JSON.
# shellcheck shell=bash disable=SC2154
set -euo pipefail

running=()
signal() {
  [ ${#running[@]} -eq 0 ] || kill -s "$1" "${running[@]}" 2>/dev/null || true
}
trap 'signal TERM; [ ${#running[@]} -gt 0 ] || exit 143' TERM
trap 'signal USR1' USR1
trap 'signal USR2' USR2

# Names of the hosts, for all that runs here.
mount -t tmpfs hosts /dev/shm
echo "127.0.0.1 localhost" >/dev/shm/names
for ((k = 1; k <= hosts; k++)); do echo "10.9.0.$k host$k" >>/dev/shm/names; done
mount --bind /dev/shm/names /etc/hosts

# Note [The bucket of a link]
# A burst passes at memory speed, so the bucket should be small; but a timer comes up to 100 µs late, and what could have been
# sent meanwhile is lost if the bucket does not hold it. Hence 128 µs, and at least 24 kB. veth passes TCP's packets of up to
# 64 KiB on whole, and tbf cuts what exceeds the bucket, which took 40 % of a core and, with both directions busy, a third of
# 1 Gb/s: so the kernel makes packets of two thirds of the bucket. A stream then reaches 0.92 to 0.95 Gb/s, both ways at once.
case "$rate" in
  *kbit) kbits=${rate%kbit} ;;
  *mbit) kbits=$((${rate%mbit} * 1000)) ;;
  *gbit) kbits=$((${rate%gbit} * 1000000)) ;;
esac
burst_bytes=$((kbits * 128 / 8000))
if [ "$burst_bytes" -lt 24000 ]; then burst_bytes=24000; fi
packet_bytes=$((burst_bytes * 2 / 3))
if [ "$packet_bytes" -gt 65536 ]; then packet_bytes=65536; fi
limit=(root tbf rate "$rate" burst "$burst_bytes" latency 50ms)

# A host is the namespaces of a process that sleeps. Sets `entry`, what a command at host K begins with.
holders=()
enter_host() {
  entry=(nsenter --target "${holders[$1]}" --net --uts --mount env --chdir="$PWD")
}
on_host() {
  enter_host "$1"
  "${entry[@]}" "${@:2}"
}

# IPv6 speaks without being asked, which would be counted.
silence_ipv6='[ ! -e /proc/sys/net/ipv6 ] || echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6'
sh -c "$silence_ipv6"
ip link add switch type bridge mcast_snooping 0
ip link set switch up
own_network=$(readlink /proc/self/ns/net)
for ((k = 1; k <= hosts; k++)); do
  unshare --net --uts --mount sleep infinity 3>&- &
  holders[k]=$!
  until [ "$(readlink "/proc/${holders[$k]}/ns/net")" != "$own_network" ]; do sleep 0.01; done
  on_host "$k" sh -c "$silence_ipv6"
  on_host "$k" hostname "host$k"
  on_host "$k" mount -t tmpfs "host$k" /dev/shm
  on_host "$k" ip link set lo up
  # A network card limits both ways: what the host sends is held back in the host, what it receives in the switch.
  ip link add "port$k" type veth peer name eth0 netns "${holders[$k]}"
  tc qdisc add dev "port$k" "${limit[@]}"
  on_host "$k" tc qdisc add dev eth0 "${limit[@]}"
  on_host "$k" ip address add "10.9.0.$k/24" dev eth0
  ip link set "port$k" master switch gso_max_size "$packet_bytes" up
  on_host "$k" ip link set eth0 gso_max_size "$packet_bytes" up
done

# Bytes as the limit counts them: every frame with its headers. The interfaces' counters take a packet that veth passes on
# whole for one frame.
sent_bytes() {
  on_host "$1" tc -s qdisc show dev eth0 | sed -n 's/^ *Sent \([0-9]*\) bytes.*/\1/p'
}
received_bytes() {
  tc -s qdisc show dev "port$1" | sed -n 's/^ *Sent \([0-9]*\) bytes.*/\1/p'
}

# Takes the process just started for one of the command's, once it is: between fork and exec it is a copy of this shell, which
# would lose a signal.
mark_running() {
  while cmp -s "/proc/$1/cmdline" "/proc/$$/cmdline"; do sleep 0.01; done
  running+=("$1")
}

start_mpirun() {
  # mpirun starts its daemons with what it takes for ssh; a daemon works where mpirun does, in the directory it is told.
  local agent=/dev/shm/agent slots="" text k variable
  local -a settings
  text="#!/bin/bash"$'\n'"case \$1 in"$'\n'
  for ((k = 1; k <= hosts; k++)); do
    enter_host "$k"
    text+="  host$k) entry=(${entry[*]@Q}) ;;"$'\n'
  done
  text+="esac"$'\n''exec "${entry[@]}" sh -c "${*:2}"'
  for ((k = 1; k <= hosts; k++)); do
    on_host "$k" tee "$agent" <<<"$text" >/dev/null
    on_host "$k" chmod +x "$agent"
  done
  # In the environment, where --mca overrides them. Sessions' directories are the host's own.
  settings=(OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_plm_rsh_agent="$agent"
    OMPI_MCA_orte_tmpdir_base=/dev/shm OMPI_MCA_pml=ob1 "OMPI_MCA_btl=tcp,self,vader")
  # Where ranks share a core, one that waits lets the others compute.
  if [ $((hosts * ranks_per_host)) -gt "$(nproc)" ]; then settings+=(OMPI_MCA_mpi_yield_when_idle=1); fi
  for ((k = 1; k <= hosts; k++)); do slots+="${slots:+,}host$k:$ranks_per_host"; done
  for variable in "${variables[@]}"; do parameters+=(-x "$variable"); done
  enter_host 1
  "${entry[@]}" "${settings[@]}" mpirun -np $((hosts * ranks_per_host)) --host "$slots" --map-by "ppr:$ranks_per_host:node" \
    --bind-to none "${parameters[@]}" "${command[@]}" 3>&- &
  mark_running $!
}

start_on_each_host() {
  local k
  for ((k = 1; k <= hosts; k++)); do
    enter_host "$k"
    "${entry[@]}" HOST_INDEX=$((k - 1)) HOSTS="$hosts" RANKS_PER_HOST="$ranks_per_host" MASTER_ADDR=10.9.0.1 \
      MASTER_PORT=29500 GLOO_SOCKET_IFNAME=eth0 "${variables[@]}" "${command[@]}" 3>&- &
    mark_running $!
  done
}

# Waits for all of the command's processes. Sets `code` to the first exit code that is not 0; then the others end, as under
# mpirun. Looks every 20 ms: `wait -n` overlooks what ended before it was called.
await() {
  local k one
  code=0
  exec 4<> <(:)  # where nothing is ever to be read
  while [ ${#running[@]} -gt 0 ]; do
    for k in "${!running[@]}"; do
      if kill -s 0 "${running[$k]}" 2>/dev/null; then continue; fi
      one=0
      wait "${running[$k]}" || one=$?
      unset "running[$k]"
      if [ "$code" = 0 ] && [ "$one" != 0 ]; then
        code=$one
        signal TERM
      fi
    done
    read -r -t 0.02 -u 4 || true
  done
}

microseconds() {
  echo "${EPOCHREALTIME/[.,]/}"
}

sent_before=() received_before=()
for ((k = 1; k <= hosts; k++)); do
  sent_before[k]=$(sent_bytes "$k")
  received_before[k]=$(received_bytes "$k")
done
started_us=$(microseconds)
case "$launcher" in
  mpirun) start_mpirun ;;
  none) start_on_each_host ;;
esac
puller=""
if [ -n "$link_down" ]; then
  # The switch's end: both ends lose the carrier, and neither sends a word.
  (sleep "$after" && ip link set "port$link_down" down && echo "hosts.sh: the link of host$link_down is down" >&2) 3>&- &
  puller=$!
fi
await
elapsed_us=$(($(microseconds) - started_us))
if [ -n "$puller" ] && kill -s 0 "$puller" 2>/dev/null; then
  echo "hosts.sh: the command ended before the link of host$link_down was pulled" >&2
fi

total=0 traffic=""
echo "hosts.sh: $hosts hosts of $ranks_per_host ranks, $rate; bytes on the links:" >&2
for ((k = 1; k <= hosts; k++)); do
  sent=$(($(sent_bytes "$k") - sent_before[k]))
  received=$(($(received_bytes "$k") - received_before[k]))
  total=$((total + sent))
  printf '  host%d  %15d sent %15d received; a rank: %15d sent %15d received\n' "$k" "$sent" "$received" \
    $((sent / ranks_per_host)) $((received / ranks_per_host)) >&2
  traffic+="${traffic:+, }{\"host\": \"host$k\", \"sent_bytes\": $sent, \"received_bytes\": $received}"
done
printf '  all    %15d sent in %d.%03d s\n' "$total" $((elapsed_us / 1000000)) $((elapsed_us / 1000 % 1000)) >&2
{
  printf '{"hosts": %d, "ranks_per_host": %d, "rate": "%s", ' "$hosts" "$ranks_per_host" "$rate"
  printf '"exit_code": %d, "seconds": %d.%06d, ' "$code" $((elapsed_us / 1000000)) $((elapsed_us % 1000000))
  printf '"sent_bytes": %d, "sent_bytes_per_rank": %d, ' "$total" $((total / hosts / ranks_per_host))
  printf '"traffic": [%s]}\n' "$traffic"
} >&3
exit "$code"
