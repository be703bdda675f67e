#!/usr/bin/env bash
# Runs on a SLURM cluster: one run on many GPUs, or arms x seeds as an array job with one GPU per task.
#
#   launch/slurm.sh run   [--nodes=1] [--gpus=8] [options] -- --config=configs/cifar10.py [flags of diffenc_jax.main]
#   launch/slurm.sh array --root=runs/seeds [--parallel=8] [options]
#                         -- --config=configs/cifar10.py --arms=diffenc,vdm --seeds=0-4 [flags of diffenc significance]
#
# Options: --time=24:00:00 --cpus=4 (per process) --name=diffenc --partition=P --account=A, and --dry-run, which prints
# the commands and runs none. Further settings of the cluster go into the variables of sbatch, such as SBATCH_QOS.
# Submit from a folder that the nodes share, where relative paths in --config are valid, files with parts of your own lie,
# such as mine.py, and python has this package, with the versions that requirements/lock-cuda.txt pins:
#
#   pip install -r requirements/lock-cuda.txt && pip install --no-deps .
#
# The output of a job is in slurm-<job>.out.
#
# run starts one process per GPU, --gpus of them on each node. array writes the output of `diffenc significance --plan`
# to ROOT/jobs.txt, runs each line as a task, --parallel of them at a time, and makes the report in a job after them.
#
# Two minutes before its time limit, or when SLURM preempts it, a job saves and is queued again; it resumes from there.
# scancel ends it for good.

set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.sh
source "$here/common.sh"

main() {
  local action=${1:-} options="time= cpus= name= partition= account="
  given=([time]=24:00:00 [cpus]=4 [name]=diffenc)
  case $action in
    run)
      given+=([nodes]=1 [gpus]=8)
      shift && parse "$options nodes= gpus=" "$@"
      need_number nodes gpus
      need_flag config configs/cifar10.py
      ;;
    array)
      given+=([parallel]=8)
      shift && parse "$options root= parallel=" "$@"
      need root
      need_number parallel
      need_flag config configs/cifar10.py
      ;;
    --help)
      usage
      exit
      ;;
    *) fail "unknown action $(quoted "$action"); known: run, array; see $0 --help" ;;
  esac
  need_number cpus
  need_program sbatch "run this on a login node of the cluster"
  where=(--job-name="${given[name]}" ${given[partition]:+--partition="${given[partition]}"}
    ${given[account]:+--account="${given[account]}"})
  training=("${where[@]}" --time="${given[time]}" --cpus-per-task="${given[cpus]}" --signal=TERM@120 --requeue
    --open-mode=append)
  "do_$action"
}

# --gpus-per-task would not do: each process must see all GPUs of its node, of which JAX takes the one with the index of
# the process on the node.
do_run() {
  run sbatch "${training[@]}" --nodes="${given[nodes]}" --ntasks-per-node="${given[gpus]}" \
    --gpus-per-node="${given[gpus]}" "$here/slurm_job.sh" run "${rest[@]}"
}

do_array() {
  local root=${given[root]} job=JOB lines
  local plan=(python -m diffenc_jax significance --root="$root" "${rest[@]}" --plan)
  if dry_run; then
    echo "$(quoted "${plan[@]}") > $(quoted "$root/jobs.txt")"
    submit_lines LINES
  else
    lines=$("${plan[@]}")
    printf '%s\n' "$lines" >"$root/jobs.txt"
    job=$(submit_lines "$(wc -l <"$root/jobs.txt")")
    job=${job%%;*} # the name of the cluster may follow
    echo "array job $job"
  fi
  run sbatch "${where[@]}" --dependency="afterany:$job" --time=1:00:00 --ntasks=1 "$here/slurm_job.sh" report "$root"
}

submit_lines() {
  run sbatch --parsable "${training[@]}" --array="1-$1%${given[parallel]}" --ntasks=1 --gpus=1 \
    "$here/slurm_job.sh" line "${given[root]}/jobs.txt"
}

main "$@"
