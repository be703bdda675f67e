#!/usr/bin/env bash
# A run on the hosts of a Cloud TPU slice.
#
#   launch/tpu.sh create --name=N --zone=Z --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite [--spot] [--queued]
#   launch/tpu.sh setup  --name=N --zone=Z [--bucket=B]     install this package on all hosts; mount B at /mnt/runs
#   launch/tpu.sh run    --name=N --zone=Z -- --config=configs/cifar10.py --workdir=/mnt/runs/cifar10 [more flags]
#   launch/tpu.sh tail   --name=N --zone=Z [--worker=0]     output of a host; Ctrl-C does not stop the run
#   launch/tpu.sh stop   --name=N --zone=Z                  the run saves and ends; the same run command resumes it
#   launch/tpu.sh delete --name=N --zone=Z [--queued] [--yes]
#   launch/tpu.sh watch  --name=N --zone=Z --type=T --runtime=R [--spot] [--bucket=B] [--every=60] [--restarts=10] [--yes]
#                        -- --config=... --workdir=...
#
# All actions accept --project=P and --dry-run, which prints the commands and runs none. --queued is for a slice that a
# queued resource of the same name provides. run starts python -m diffenc_jax.main --distributed with the flags after
# --, one process per host, which outlives the connection.
#
# The workdir must be a folder that all hosts share and that outlives the slice: the mounted bucket, or a shared disk.
# It cannot be a gs:// address. Give the bucket a hierarchical namespace, which renames folders atomically.
#
# watch requests a queued slice, sets it up and starts the run. After a preemption it deletes the slice, requests it
# again and resumes the run. It ends when the run ends. After other failures it restarts the run at most --restarts
# times.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

HOST=diffenc_jax/launch/tpu_host.sh # its path after setup, relative to the home folder

main() {
  local action=${1:-}
  case $action in
    create) shift && parse "name= zone= project= type= runtime= spot queued" "$@" ;;
    setup) shift && parse "name= zone= project= bucket=" "$@" ;;
    run | stop) shift && parse "name= zone= project=" "$@" ;;
    tail)
      given[worker]=0
      shift && parse "name= zone= project= worker=" "$@"
      ;;
    delete) shift && parse "name= zone= project= queued yes" "$@" ;;
    watch)
      given=([every]=60 [restarts]=10)
      shift && parse "name= zone= project= type= runtime= spot bucket= every= restarts= yes" "$@"
      ;;
    --help)
      usage
      exit
      ;;
    *) fail "unknown action $(quoted "$action"); known: create, setup, run, tail, stop, delete, watch; see $0 --help" ;;
  esac
  need_name name
  need zone
  name=${given[name]}
  where=(--zone="${given[zone]}" ${given[project]:+--project="${given[project]}"})
  check "$action"
  need_program gcloud "install the Google Cloud CLI"
  "do_$action"
}

# check ACTION: check the options that only some actions need.
check() {
  case $1 in create | watch) need type runtime ;; esac
  case $1 in
    run | watch)
      need_flag config configs/cifar10.py
      need_flag workdir /mnt/runs/cifar10
      ;;
    *) ((${#rest[@]} == 0)) || fail "$1 takes nothing after --" ;;
  esac
  if [[ $1 == watch ]]; then need_number every restarts; fi
}

do_create() {
  if [[ -n ${given[queued]:-} ]]; then
    queue
  else
    run gcloud compute tpus tpu-vm create "$name" "${where[@]}" --accelerator-type="${given[type]}" \
      --version="${given[runtime]}" ${given[spot]:+--spot}
  fi
}

queue() {
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
    --accelerator-type="${given[type]}" --runtime-version="${given[runtime]}" ${given[spot]:+--spot}
}

do_setup() {
  local archive=ARCHIVE code=0
  if ! dry_run; then archive=$(mktemp -t diffenc_jax.XXXXXX); fi
  run tar -czf "$archive" -C "$here/.." configs diffenc_jax launch pyproject.toml setup.py README.md LICENSE &&
    run gcloud compute tpus tpu-vm scp "$archive" "$name:diffenc_jax.tar.gz" "${where[@]}" --worker=all &&
    on all "mkdir -p diffenc_jax && tar -xzf diffenc_jax.tar.gz -C diffenc_jax && $(host setup "${given[bucket]:-}")" ||
    code=$?
  if ! dry_run; then rm "$archive"; fi
  return "$code"
}

do_run() { on all "$(host start "${rest[@]}")"; }

do_tail() { on "${given[worker]}" "$(host tail)"; }

do_stop() { on all "$(host stop)"; }

# on WORKER COMMAND: run a shell command on a host; WORKER may be all.
on() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="$1" --command="$2"
}

host() { quoted bash "$HOST" "$@"; }

do_delete() {
  confirm "This deletes $name and its disks, with all files that are on no bucket."
  if [[ -n ${given[queued]:-} ]]; then
    delete_queued
  else
    run gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet
  fi
}

delete_queued() { run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet; }

requeue() { delete_queued && queue; }

state() { run gcloud compute tpus queued-resources describe "$name" "${where[@]}" "--format=value(state.state)"; }

status() { on 0 "test ! -e $HOST && echo none || $(host status "${rest[@]}")"; }

begin() { do_setup && do_stop && do_run; }

do_watch() {
  confirm "Whenever $name is preempted, this deletes it and creates it again."
  if dry_run; then
    show_round
    return
  fi
  restarts=0
  until one_round; do sleep "${given[every]}"; done
}

show_round() {
  echo "# every ${given[every]} s:" && state
  echo "# if the slice does not exist:" && queue
  echo "# if the slice is SUSPENDED:" && requeue
  echo "# if the slice is ACTIVE:" && status
  echo "# and if no run is active there:" && begin
}

# one_round: succeed if the run has ended.
one_round() {
  local state
  state=$(state 2>/dev/null) || state=ABSENT
  say "$(date '+%F %T') $name: $state"
  case $state in
    ACTIVE) if look_after_run; then return; fi ;;
    ABSENT) queue || say "  the request failed; trying again" ;;
    SUSPENDED) requeue || say "  the request failed; trying again" ;;
    FAILED) fail "the request for $name has failed; see gcloud compute tpus queued-resources describe, then delete it" ;;
  esac
  return 1
}

look_after_run() {
  local status
  status=$(status | tail -n 1) || status=unreachable
  case $status in
    running | unreachable) ;;
    "ended 0")
      say "  the run has ended"
      return
      ;;
    other) fail "another run is active there; stop it first" ;;
    "ended 2") fail "the run refused its input; see $0 tail" ;;
    ended*)
      ((restarts < given[restarts])) || fail "the run has failed after $restarts restarts; see $0 tail"
      restarts=$((restarts + 1))
      ;;&
    *)
      say "  run: $status; starting it"
      begin || say "  it could not be started; trying again"
      ;;
  esac
  return 1
}

main "$@"
