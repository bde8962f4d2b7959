#!/usr/bin/env bash
# One training run as a job:  sbatch slurm/finetune.sh --run runs/r50 --model resnet50 --weights imagenet ...
# The flags are those of jobs/train.py. Options of sbatch precede the file:  sbatch --account=ME --cpus-per-task=4 slurm/...
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
set -uo pipefail
trap 'scontrol requeue "$SLURM_JOB_ID"' USR1
gpus=${SLURM_GPUS_ON_NODE:-1} # on each node, each with a process; errors in the flags are reported once, before the start
WORLD_SIZE=$((SLURM_NNODES * gpus)) LOCAL_WORLD_SIZE=$gpus "${PYTHON:=.venv/bin/python}" jobs/train.py --prepare "$@" || exit
export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK # srun does not take this over from sbatch
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun "$PYTHON" -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc-per-node "$gpus" \
    --rdzv-backend c10d --rdzv-endpoint "$head:$((20000 + SLURM_JOB_ID % 20000))" --rdzv-id "$SLURM_JOB_ID" \
    --max-restarts 3 -- jobs/train.py "$@" &
wait $! # ends with the training, or with the signal
wait $!
