#!/usr/bin/env bash
# A sweep's driver as a job, if login nodes forbid long processes:  sbatch slurm/sweep.sh sweeps/x.py
# The driver's options follow --, and options of sbatch precede the file:
#   sbatch --account=ME slurm/sweep.sh sweeps/x.py -- --cluster mysite --trials 20
# Before its time limit the driver detaches and is requeued, while the trials run on. After scancel they run on, too, but
# the driver is not requeued: scancel sends SIGTERM and not the signal below.
#SBATCH --job-name=sweep
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail; PYTHON=${PYTHON:-.venv/bin/python}
script=$1
shift
[ "${1:-}" != -- ] || shift
"$PYTHON" "$script" --cluster slurm "$@" &
driver=$!
trap 'kill -TERM $driver; wait $driver; scontrol requeue "$SLURM_JOB_ID"' USR1
wait $driver
