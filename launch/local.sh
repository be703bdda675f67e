#!/usr/bin/env bash
# A run of several processes on the CPU of this machine, each with several simulated devices, to try out a cluster.
#
#   launch/local.sh [--processes=2] [--devices=4] [--dry-run] -- --config=configs/digits.py [flags of diffenc_jax.main]
#
# train.batch_size must be a multiple of processes x devices. The output is that of the first process; the output of
# another process is shown if that one fails first. Ctrl-C and SIGTERM are forwarded: the run saves, and the same
# command resumes it; a second signal ends it at once. If a process fails, the others are ended, and the launcher exits
# with its exit code. The variable PYTHON names the interpreter (default: python).

set -euo pipefail
# shellcheck source=launch/common.sh
source "$(dirname "$0")/common.sh"

python=${PYTHON:-python}
pids=()
signals=0 # number of signals received

main() {
  given=([processes]=2 [devices]=4)
  parse "processes= devices=" "$@"
  need_number processes devices
  need_flag config configs/digits.py
  need_program "$python" "set up as README.md says, or set PYTHON"
  local port=PORT
  dry_run || port=$(free_port)
  logs=$(dry_run || mktemp -d)
  trap clean_up EXIT
  trap 'signals=$((signals + 1))' INT TERM
  local process
  for ((process = 0; process < given[processes]; process++)); do
    start "$process" "$port"
  done
  if ! dry_run; then wait_for_all; fi
}

free_port() {
  "$python" -c 'import socket; s = socket.socket(); s.bind(("localhost", 0)); print(s.getsockname()[1])'
}

# NPROC is the number of XLA's threads. One that waits in a collective for another process runs nothing else; with as
# few as a small machine has processors, all can wait for ever.
start() {
  local flags="${XLA_FLAGS:+$XLA_FLAGS }--xla_force_host_platform_device_count=${given[devices]}"
  local command=(env JAX_PLATFORMS=cpu NPROC=$((4 * given[devices])) "XLA_FLAGS=$flags" "$python" -m diffenc_jax.main
    --coordinator="localhost:$2" --processes="${given[processes]}" --process="$1" "${rest[@]}")
  if dry_run; then
    quoted "${command[@]}"
  elif (($1 == 0)); then
    "${command[@]}" &
    pids[0]=$!
  else
    "${command[@]}" >"$logs/$1" 2>&1 &
    pids[$1]=$!
  fi
}

# Poll all processes rather than wait for one, so that a signal or a failure is noticed soon.
wait_for_all() {
  local process code forwarded=0 failed=0
  while ((${#pids[@]})); do
    if ((signals && !forwarded)); then
      kill -s TERM "${pids[@]}" 2>/dev/null || true
      forwarded=1
    elif ((signals > 1)); then
      kill_all
      exit $((128 + 9))
    fi
    for process in "${!pids[@]}"; do
      if kill -0 "${pids[process]}" 2>/dev/null; then continue; fi
      code=0
      wait "${pids[process]}" || code=$?
      unset "pids[process]"
      if ((code && !forwarded)); then give_up "$process" "$code"; fi
      if ((code && !failed)); then failed=$code; fi
    done
    sleep 0.2
  done
  exit "$failed"
}

# give_up PROCESS CODE: end the run, since the other processes can neither continue nor end without PROCESS. Its last
# output is shown, except that of the first process, which is visible already.
give_up() {
  if (($1 > 0)) && ended_alike "$2"; then exit "$2"; fi
  if (($1 > 0)); then tail -n 20 "$logs/$1" >&2; fi
  if (($1 > 0 || $2 > 2)); then say "error: process $1 ended with exit code $2; the others were ended"; fi
  exit "$2"
}

# ended_alike CODE: whether the first process ends with the same exit code within a second.
ended_alike() {
  local tenths code=0
  for ((tenths = 0; tenths < 10; tenths++)); do
    if [[ -z ${pids[0]:-} ]] || ! kill -0 "${pids[0]}" 2>/dev/null; then break; fi
    sleep 0.1
  done
  if ((tenths == 10)) || [[ -z ${pids[0]:-} ]]; then return 1; fi
  wait "${pids[0]}" || code=$?
  unset "pids[0]"
  ((code == $1))
}

# The redirection hides bash's own line about each killed process.
kill_all() {
  {
    kill -s KILL "${pids[@]}" || true
    wait "${pids[@]}" || true
  } 2>/dev/null
  pids=()
}

clean_up() {
  if ((${#pids[@]})); then kill_all; fi
  if [[ -n $logs ]]; then rm -r "$logs"; fi
}

main "$@"
