#!/usr/bin/env bash
# A job of launch/slurm.sh. SLURM runs it on the first node of the job; it is not meant to be run by hand.
#
#   slurm_job.sh run FLAGS     diffenc_jax.main, one process per GPU
#   slurm_job.sh line FILE     the line of FILE whose number is that of the array task
#   slurm_job.sh report ROOT   the report of `diffenc significance`

set -euo pipefail

saved=143 # 128 + SIGTERM
cancelled=
code=0
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # srun does not inherit it from sbatch

# Before the time limit SLURM signals only the processes; scancel signals this script too.
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
    srun --ntasks=1 bash -c "trap : TERM; $line" || code=$? # the shell waits until its python has saved
    ;;
  report)
    exec python -m diffenc_jax significance report --root="$2"
    ;;
esac

if ((code == saved)) && [[ -z $cancelled ]]; then
  scontrol requeue "$job"
fi
exit "$code"
