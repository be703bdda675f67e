#!/usr/bin/env bash
# The part of launch/tpu.sh that runs on a host of the slice; it is not meant to be run by hand.
#
#   tpu_host.sh setup BUCKET   install this package and its pinned requirements in a virtual environment; mount BUCKET,
#                              if not empty, at /mnt/runs
#   tpu_host.sh start FLAGS    start diffenc_jax.main, which outlives the connection
#   tpu_host.sh status FLAGS   print none, running, ended with the exit code, or other if a run with other flags is active
#   tpu_host.sh stop           the run saves and ends
#   tpu_host.sh tail           follow the output of the run
#   tpu_host.sh log            print the output of the run

set -euo pipefail

home=$(cd "$(dirname "$0")/.." && pwd)
venv=$home/.venv
state=$home/.run
mount=/mnt/runs

main() {
  cd "$home"
  mkdir -p "$state"
  "$@"
}

# uv provides a recent Python; the images of TPU VMs have older ones.
setup() {
  export PATH=$HOME/.local/bin:$PATH
  command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | sh
  uv venv --quiet --allow-existing --python 3.12 "$venv"
  uv pip install --quiet --python "$venv/bin/python" --requirements "$home/requirements/lock-tpu.txt"
  uv pip install --quiet --python "$venv/bin/python" --no-deps "$home"
  if [[ -n $1 ]]; then mount_bucket "$1"; fi
}

# A complete checkpoint is a folder that is renamed. Several hosts write to the bucket, so none of them may keep what it
# knows of files, of their absence and of folders; on large machines gcsfuse would keep it for ever.
MOUNT_OPTIONS=(--implicit-dirs --rename-dir-limit=100000 --metadata-cache-ttl-secs=0 --stat-cache-max-size-mb=0
  --type-cache-max-size-mb=0 --kernel-list-cache-ttl-secs=0)

mount_bucket() {
  if mountpoint -q "$mount"; then return; fi
  command -v gcsfuse >/dev/null || install_gcsfuse
  sudo mkdir -p "$mount"
  sudo chown "$(id -u)" "$mount"
  gcsfuse "${MOUNT_OPTIONS[@]}" "$1" "$mount"
}

install_gcsfuse() {
  local key=/usr/share/keyrings/cloud.google.asc
  curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg | sudo tee "$key" >/dev/null
  echo "deb [signed-by=$key] https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main" |
    sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null
  sudo apt-get update -qq
  sudo apt-get install -qq gcsfuse
}

start() {
  if alive; then
    echo "error: a run is active on $(hostname); stop it first" >&2
    exit 2
  fi
  rm -f "$state/code" "$state/pid"
  printf '%q ' "$@" >"$state/flags"
  nohup bash "$home/launch/tpu_host.sh" work "$@" >>"$state/log" 2>&1 </dev/null &
  until alive || [[ -s $state/code ]]; do sleep 0.1; done
}

work() {
  local code=0
  "$venv/bin/python" -m diffenc_jax.main --distributed "$@" &
  echo $! >"$state/pid"
  wait $! || code=$?
  echo "$code" >"$state/code"
}

status() {
  local same=
  if [[ -e $state/flags && $(<"$state/flags") == "$(printf '%q ' "$@")" ]]; then same=1; fi
  if alive; then
    if [[ $same ]]; then echo running; else echo other; fi
  elif [[ $same && -s $state/code ]]; then
    echo "ended $(<"$state/code")"
  else
    echo none
  fi
}

# Whether the run is active. A program that is just being replaced by another has no name for a moment, so a second look
# decides.
alive() { is_run || { sleep 0.2 && is_run; }; }

# After a reboot of the host the stored number may belong to another process.
is_run() {
  [[ -s $state/pid ]] && grep -qa diffenc_jax.main "/proc/$(<"$state/pid")/cmdline" 2>/dev/null
}

# A run that has lost other hosts cannot save, so it is killed after two minutes.
stop() {
  if ! alive; then return; fi
  kill -TERM "$(<"$state/pid")"
  local tenths
  for ((tenths = 0; tenths < 1200; tenths++)); do
    if ! alive; then return; fi
    sleep 0.1
  done
  kill -KILL "$(<"$state/pid")"
}

tail() { command tail -n 50 -F "$state/log"; }

log() { if [[ -e $state/log ]]; then cat "$state/log"; fi; }

main "$@"
