#!/usr/bin/env bash
# What a job of launch/slurm.sh does on the first of its nodes, where SLURM runs it; not for use by hand.
#
#   slurm_job.sh run FLAGS     a process a GPU of diffenc_jax.main
#   slurm_job.sh line FILE     the line of FILE that has the array task's number
#   slurm_job.sh report ROOT   significance's report

set -euo pipefail

saved=143 # 128 + SIGTERM
cancelled=
code=0
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not take it from sbatch

# When time is nearly over SLURM tells the processes alone; scancel tells this script too.
trap 'cancelled=1' TERM

case $1 in
  run)
    shift
    job=$SLURM_JOB_ID
    srun --kill-on-bad-exit=1 --gpu-bind=none python -m diffenc_jax.main --distributed "$@" || code=$?
    ;;
  line)
    job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$2")
    srun --ntasks=1 bash -c "trap : TERM; $line" || code=$? # the shell waits for its python to save
    ;;
  report)
    exec python -m diffenc_jax.significance report --root="$2"
    ;;
esac

if ((code == saved)) && [[ -z $cancelled ]]; then
  scontrol requeue "$job"
fi
exit "$code"
