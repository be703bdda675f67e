#!/usr/bin/env bash
# A run on the hosts of a Cloud TPU slice.
#
#   launch/tpu.sh create --name=N --zone=Z --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite [--spot] [--queued]
#   launch/tpu.sh setup  --name=N --zone=Z [--bucket=B]     this package on all hosts; bucket B mounted at /mnt/runs
#   launch/tpu.sh run    --name=N --zone=Z -- --config=configs/cifar10.py --workdir=/mnt/runs/cifar10 [more flags]
#   launch/tpu.sh tail   --name=N --zone=Z [--worker=0]     what a host says; Ctrl-C ends the looking alone
#   launch/tpu.sh stop   --name=N --zone=Z                  the run saves and ends; run goes on from there
#   launch/tpu.sh delete --name=N --zone=Z [--queued] [--yes]
#   launch/tpu.sh watch  --name=N --zone=Z --type=T --runtime=R [--spot] [--bucket=B] [--every=60] [--restarts=10] [--yes]
#                        -- --config=... --workdir=...
#
# All take --project=P and --dry-run, which prints the commands and runs none. --queued is for a slice that comes
# through a queued resource, which bears its name. run starts a process a host that outlives the connection, all of
# python -m diffenc_jax.main --distributed with the flags after --.
#
# A workdir must be a folder that all hosts see, and outlive the slice: the mounted bucket, or a shared disk. It cannot
# be a gs:// address. Give the bucket a hierarchical namespace, which renames folders at once.
#
# watch does it all for a queued slice, and over again: asks for the slice, sets it up, starts the run, and when the
# slice was preempted deletes what is left of it, asks anew and has the run go on. It ends when the run has. Other
# failures are gone on from --restarts times.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

HOST=diffenc_jax/launch/tpu_host.sh # where setup puts it, seen from the home folder

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

# check ACTION: what the action needs besides.
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
  run tar -czf "$archive" -C "$here/.." configs diffenc_jax launch pyproject.toml README.md LICENSE &&
    run gcloud compute tpus tpu-vm scp "$archive" "$name:diffenc_jax.tar.gz" "${where[@]}" --worker=all &&
    on all "mkdir -p diffenc_jax && tar -xzf diffenc_jax.tar.gz -C diffenc_jax && $(host setup "${given[bucket]:-}")" ||
    code=$?
  if ! dry_run; then rm "$archive"; fi
  return "$code"
}

do_run() { on all "$(host start "${rest[@]}")"; }

do_tail() { on "${given[worker]}" "$(host tail)"; }

do_stop() { on all "$(host stop)"; }

# on WORKER COMMAND: runs a shell's command there; WORKER may be all.
on() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" --worker="$1" --command="$2"
}

host() { quoted bash "$HOST" "$@"; }

do_delete() {
  confirm "This deletes $name and its disks, with what is on no bucket."
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
  confirm "Whenever $name is preempted, this deletes what is left of it and creates it anew."
  if dry_run; then
    show_round
    return
  fi
  restarts=0
  until one_round; do sleep "${given[every]}"; done
}

show_round() {
  echo "# every ${given[every]} s:" && state
  echo "# if there is none:" && queue
  echo "# if it is SUSPENDED:" && requeue
  echo "# if it is ACTIVE:" && status
  echo "# and if nothing runs there:" && begin
}

# Succeeds when the run has ended.
one_round() {
  local state
  state=$(state 2>/dev/null) || state=ABSENT
  say "$(date '+%F %T') $name: $state"
  case $state in
    ACTIVE) if look_after_run; then return; fi ;;
    ABSENT) queue || say "  it could not be asked for; trying again" ;;
    SUSPENDED) requeue || say "  it could not be asked for anew; trying again" ;;
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
    other) fail "another run is going on there; stop it first" ;;
    "ended 2") fail "the run found its input wrong; see $0 tail" ;;
    ended*)
      ((restarts < given[restarts])) || fail "the run has failed and was begun again $restarts times; see $0 tail"
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
