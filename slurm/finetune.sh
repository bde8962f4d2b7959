#!/usr/bin/env bash
# One training run as a job:  sbatch slurm/finetune.sh --run runs/r50 --model resnet50 --weights imagenet ...
# The flags are those of fieldtrial train. Options of sbatch precede the file:  sbatch --account=ME --cpus-per-task=4 slurm/...
# Before its time limit it is requeued, and resumes. If memory runs out, it restarts with gradient accumulation.
#SBATCH --job-name=finetune
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail; PYTHON=${PYTHON:-.venv/bin/python}; trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
gpus=${SLURM_GPUS_ON_NODE:-1} # on each node, each with a process; errors in the flags are reported once, before the start
WORLD_SIZE=$((SLURM_NNODES * gpus)) LOCAL_WORLD_SIZE=$gpus "$PYTHON" -P jobs/train.py --prepare "$@" || exit
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK FIELDTRIAL_LAUNCHED="${EPOCHREALTIME/,/.}" # srun does not take the first over
meeting=$(mktemp -d "$PWD/.finetune-$SLURM_JOB_ID-XXXXXX") && trap 'rm -rf "$meeting"' EXIT || exit # for this user alone
for restart in 0 1 2 3; do # unless all is done, or 2: bad input; a wait ends with the training, or with the signal
    TORCHELASTIC_RESTART_COUNT=$restart FIELDTRIAL_RENDEZVOUS=$meeting/$restart srun --kill-on-bad-exit=1 --export=ALL "$PYTHON" \
        -P -m fieldtrial.training.distributed.launcher --processes "$gpus" \
        --nodes "$(scontrol show hostnames "$SLURM_JOB_NODELIST" | grep -x '[[:alnum:]._-]*' | paste -sd,)" jobs/train.py "$@" & wait $!
    wait $!; status=$?; ((status == 0 || status == 2)) && break
done; exit "$status"
