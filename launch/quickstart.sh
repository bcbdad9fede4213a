#!/usr/bin/env bash
# From a fresh checkout to a trained network: installs what is missing, builds, renders pictures, trains a residual network on two
# ranks, evaluates it, and says where everything is. A few minutes on two cores.
#   bash launch/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."

# The demonstration: which network, on which pictures, for how long. Chosen for validation top-1 above 90 % in under five minutes
# on two cores.
pictures=(--train-per-class 200 --val-per-class 40 --seed 1)
network=(--model resnet20 --crop 48)
recipe=(--epochs 12 --global-batch 64 --augment light --base-lr 0.2 --warmup-epochs 1 --weight-decay 5e-4 --label-smoothing 0.05)

data=demo/pictures
out=demo/run  # of an earlier quickstart: it stays, and this one takes demo/run-2
for ((n = 2; ; n++)); do
  if [ ! -e "$out" ] && [ ! -L "$out" ]; then break; fi
  out=demo/run-$n
done
dtrain=build/release/launch/dtrain

say() { printf '\n== %s\n' "$*"; }

say "Packages"
bash launch/packages.sh

say "Building (build/release)"
cmake --preset release -DDTRAIN_TESTS=OFF -DDTRAIN_BENCH=OFF >/dev/null
cmake --build --preset release --target dtrain --parallel "$(nproc)"

say "Rendering pictures ($data)"
mkdir -p demo
"$dtrain" make-demo "$data" --force "${pictures[@]}"  # replaces what make-demo wrote there, and refuses anything else

# Two ranks on this machine. mpirun refuses root and more ranks than cores unless told; dtrain itself pins its threads.
mpirun=(mpirun -np 2 --bind-to none)
if [ "$(nproc)" -lt 2 ]; then mpirun+=(--oversubscribe); fi
if [ "$(id -u)" -eq 0 ]; then export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1; fi

say "Training on two ranks"
"${mpirun[@]}" "$dtrain" --data "$data" "${network[@]}" "${recipe[@]}" --out "$out"

say "Evaluating the best weights on pictures the network has not seen"
"${mpirun[@]}" "$dtrain" eval --data "$data" "${network[@]}" --weights "$out/best.safetensors"

cat <<END

== Done
  weights      $out/best.safetensors (PyTorch reads them by name), $out/last.safetensors
  checkpoints  $out/checkpoints/
  metrics      $out/metrics.jsonl (a line a step), $out/report.json

Next:
  $dtrain inspect $out/best.safetensors
  $dtrain models
  launch/run.sh -- topo                     where the threads of two ranks run
  launch/run.sh -- --data DIR --model resnet18 --global-batch 32 --out runs/first
  $dtrain --help
END
