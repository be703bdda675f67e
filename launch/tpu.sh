#!/usr/bin/env bash
# A run on the hosts of a Cloud TPU slice.
#
#   launch/tpu.sh create --name=N --zone=Z --type=v5litepod-16 --runtime=v2-alpha-tpuv5-lite [--spot] [--queued] [--yes]
#   launch/tpu.sh setup  --name=N --zone=Z [--mount=B] [--include=mine.py ...]      install this package on all hosts
#   launch/tpu.sh run    --name=N --zone=Z -- --config=configs/cifar10.py --workdir=gs://B/cifar10 [more flags]
#   launch/tpu.sh tail   --name=N --zone=Z [--worker=0]     output of a host; Ctrl-C does not stop the run
#   launch/tpu.sh logs   --name=N --zone=Z [--to=logs/N]    fetch the output of all hosts into a folder, one file each
#   launch/tpu.sh stop   --name=N --zone=Z                  the run saves and ends; the same run command resumes it
#   launch/tpu.sh delete --name=N --zone=Z [--queued] [--yes]
#   launch/tpu.sh watch  --name=N --zone=Z --type=T --runtime=R [--spot] [--mount=B] [--include=mine.py ...] [--every=60]
#                        [--restarts=10] [--yes] -- --config=... --workdir=...
#
# --yes answers the question before something is created or deleted. All actions accept --project=P, --gcloud="FLAGS"
# and --dry-run, which prints the commands and runs none. --queued is for a slice that a queued resource of the same name
# provides. run starts python -m diffenc_jax.main --distributed with the flags after --, one process per host, which
# outlives the connection.
#
# --gcloud adds flags to the commands of gcloud, such as --gcloud="--internal-ips --network=n" for create and
# --gcloud=--internal-ip for setup and run. It is split at spaces, except in quotes; nothing is expanded. For watch, the
# flags of --gcloud are those of the request, and --gcloud-ssh="FLAGS" are those of the connections.
#
# The workdir is an address in a bucket, gs://B/RUN. --bucket=B in place of --workdir means gs://B/N, and gs://B/data
# for the images, --config.data.dir, unless that is given. The service account of the hosts must be allowed to write
# there. --mount=B mounts the bucket at /mnt/runs on all hosts, with gcsfuse; then a workdir can be /mnt/runs/RUN. A
# mount has drawbacks, see docs/clusters.md.
#
# Hosts install the versions that requirements/lock-tpu.txt pins. --include=PATH, which may be given several times, copies
# a file or a folder of yours to the folder in which they start the run: mine.py, a part of your own that
# --config.model.encoder.kind=mine:Fading names, a package, or a configuration, --config=mine.py. After a change of your
# files, stop the run, and give setup and run again.
#
# watch requests a queued slice, sets it up and starts the run. After a preemption it deletes the slice, requests it
# again and resumes the run, with the code and the versions of its own start. It looks every --every seconds, and ends
# when the run ends. After other failures it restarts the run at most --restarts times.
#
# The Cloud TPU API, to which these commands belong, is no longer developed: by its documentation in 2026 it receives
# bug fixes and security updates only, and has no TPU7x. Google recommends GKE (launch/gke.sh) or Compute Engine.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

HOST=diffenc_jax/launch/tpu_host.sh # its path after setup, relative to the home folder
SHARED=/mnt/runs                    # where hosts mount a bucket
SENT=(benchmarks configs diffenc_jax launch requirements pyproject.toml setup.py README.md LICENSE) # of this repository

archive=ARCHIVE # file with the package
gcloud_flags=() # of the commands that create or delete
ssh_flags=()    # of the commands that connect to hosts

main() {
  local action=${1:-} common="name= zone= project= gcloud="
  case $action in
    create) shift && parse "$common type= runtime= spot queued yes" "$@" ;;
    setup) shift && parse "$common mount= include=" "$@" ;;
    run) shift && parse "$common bucket=" "$@" ;;
    stop) shift && parse "$common" "$@" ;;
    tail)
      given[worker]=0
      shift && parse "$common worker=" "$@"
      ;;
    logs) shift && parse "$common to=" "$@" ;;
    delete) shift && parse "$common queued yes" "$@" ;;
    watch)
      given=([every]=60 [restarts]=10)
      shift && parse "$common gcloud-ssh= type= runtime= spot bucket= mount= include= every= restarts= yes" "$@"
      ;;
    --help)
      usage
      exit
      ;;
    *)
      fail "unknown action $(quoted "$action"); known: create, setup, run, tail, logs, stop, delete, watch;" \
        "see $0 --help"
      ;;
  esac
  need_name name
  need zone
  name=${given[name]}
  where=(--zone="${given[zone]}" ${given[project]:+--project="${given[project]}"})
  check "$action"
  add_flags "$action"
  need_program gcloud "install the Google Cloud CLI"
  "do_$action"
}

# check ACTION: check the options that only some actions need.
check() {
  case $1 in create | watch) need type runtime ;; esac
  check_included
  case $1 in
    run | watch)
      need_flag config configs/cifar10.py
      default_workdir
      need_flag workdir gs://BUCKET/cifar10
      ;;
    *) ((${#rest[@]} == 0)) || fail "$1 takes nothing after --" ;;
  esac
  if [[ $1 == watch ]]; then
    need_number every restarts
    need_lasting_workdir
  fi
}

# check_included: each file or folder must exist, and its name must be free on the hosts, also as that of a module.
check_included() {
  local path own taken=" ${SENT[*]%.py} "
  for path in "${included[@]}"; do
    own=$(basename -- "$path" .py)
    [[ $own =~ ^[A-Za-z0-9_][-A-Za-z0-9_.]*$ ]] ||
      fail "--include=$(quoted "$path"): a name may have letters, digits, _, - and . only; rename it"
    [[ $taken != *" $own "* ]] || fail "--include=$(quoted "$path"): the hosts have another $own; rename it"
    [[ -r $path ]] || fail "--include=$(quoted "$path") is no file or folder that can be read; give its path on this machine"
    taken+="$own "
  done
}

# A preemption deletes the disks of the hosts.
need_lasting_workdir() {
  local workdir
  workdir=$(flag workdir)
  case $workdir in
    gs://*) ;;
    "$SHARED"/*)
      [[ -n ${given[mount]:-} ]] || fail "--workdir=$workdir is where a bucket is mounted; give --mount=BUCKET," \
        "or --workdir=gs://BUCKET/..."
      ;;
    /*) ;; # a shared disk
    *) fail "--workdir=$workdir is on the hosts, whose disks a preemption deletes; give --workdir=gs://BUCKET/..." ;;
  esac
}

# add_flags ACTION: split the flags for gcloud.
add_flags() {
  local -a words=()
  split gcloud
  case $1 in
    create | delete | watch) gcloud_flags=("${words[@]}") ;;
    *) ssh_flags=("${words[@]}") ;;
  esac
  if [[ $1 == watch ]]; then
    split gcloud-ssh
    ssh_flags=("${words[@]}")
  fi
}

do_create() {
  confirm "$(cost)"
  if [[ -n ${given[queued]:-} ]]; then
    queue
  else
    run gcloud compute tpus tpu-vm create "$name" "${where[@]}" --accelerator-type="${given[type]}" \
      --version="${given[runtime]}" ${given[spot]:+--spot} "${gcloud_flags[@]}"
  fi
}

queue() {
  run gcloud compute tpus queued-resources create "$name" --node-id="$name" "${where[@]}" \
    --accelerator-type="${given[type]}" --runtime-version="${given[runtime]}" ${given[spot]:+--spot} \
    "${gcloud_flags[@]}"
}

# cost: print what is requested, and for how long it costs money.
cost() {
  local type=${given[type]} chips="an unknown number of" spot="not spot"
  if [[ $type =~ ^(v5litepod|v6e)-([0-9]+)$ ]]; then
    chips=${BASH_REMATCH[2]}
  elif [[ $type =~ ^(v2|v3|v4|v5p)-([0-9]+)$ ]]; then # these count cores
    chips=$((BASH_REMATCH[2] / 2))
  fi
  if [[ -n ${given[spot]:-} ]]; then spot="spot"; fi
  echo "$name: $chips TPU chips ($type, $spot) in ${given[zone]}, which cost money from their creation until" \
    "launch/tpu.sh delete."
}

do_setup() {
  pack
  install
}

# pack: pack what the hosts need into `archive`, which is deleted when this script ends.
pack() {
  if ! dry_run; then
    archive=$(mktemp -t diffenc_jax.XXXXXX)
    trap 'rm -f "$archive"' EXIT
  fi
  local path own=()
  for path in "${included[@]}"; do
    own+=(-C "$(realpath -- "$(dirname -- "$path")")" "$(basename -- "$path")")
  done
  run tar -czhf "$archive" --exclude=__pycache__ -C "$here/.." "${SENT[@]}" "${own[@]}"
}

install() {
  run gcloud compute tpus tpu-vm scp "$archive" "$name:diffenc_jax.tar.gz" "${where[@]}" "${ssh_flags[@]}" \
    --worker=all &&
    on all "mkdir -p diffenc_jax && tar -xzf diffenc_jax.tar.gz -C diffenc_jax && $(host setup "${given[mount]:-}")"
}

do_run() { on all "$(host start "${rest[@]}")"; }

do_tail() { on "${given[worker]}" "$(host tail)"; }

do_logs() {
  local folder=${given[to]:-logs/$name}
  run mkdir -p "$folder"
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" "${ssh_flags[@]}" --worker=all \
    --output-directory="$folder" --command="$(host log)"
  dry_run || echo "the output of each host is in $folder"
}

do_stop() { on all "$(host stop)"; }

# on WORKER COMMAND: run a shell command on a host; WORKER may be all.
on() {
  run gcloud compute tpus tpu-vm ssh "$name" "${where[@]}" "${ssh_flags[@]}" --worker="$1" --command="$2"
}

host() { quoted bash "$HOST" "$@"; }

do_delete() {
  confirm "This deletes $name and its disks, with all files that are on no bucket."
  if [[ -n ${given[queued]:-} ]]; then
    delete_queued "${gcloud_flags[@]}"
  else
    run gcloud compute tpus tpu-vm delete "$name" "${where[@]}" --quiet "${gcloud_flags[@]}"
  fi
}

# delete_queued FLAGS: delete the slice and its request.
delete_queued() { run gcloud compute tpus queued-resources delete "$name" "${where[@]}" --force --quiet "$@"; }

requeue() { delete_queued && queue; }

state() { run gcloud compute tpus queued-resources describe "$name" "${where[@]}" "--format=value(state.state)"; }

status() { on 0 "test ! -e $HOST && echo none || $(host status "${rest[@]}")"; }

begin() { install && do_stop && do_run; }

do_watch() {
  confirm "$(cost) Whenever it is preempted, this deletes it and creates it again."
  pack
  if dry_run; then
    show_round
    return
  fi
  restarts=0
  until one_round; do sleep "${given[every]}"; done
  say "$name still costs money; launch/tpu.sh delete --queued ends that"
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
    "ended 143") begin_anew "$status" ;; # it has saved: the host is about to be preempted or maintained
    ended*)
      ((restarts < given[restarts])) || fail "the run has failed after $restarts restarts; see $0 tail"
      restarts=$((restarts + 1))
      begin_anew "$status"
      ;;
    *) begin_anew "$status" ;;
  esac
  return 1
}

# begin_anew STATUS: set the hosts up and start the run there.
begin_anew() {
  say "  run: $1; starting it"
  begin || say "  it could not be started; trying again"
}

main "$@"
