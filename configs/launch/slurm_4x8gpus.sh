#!/usr/bin/env bash
# 4 machines with 8 GPUs each under SLURM, one process a GPU; other numbers: --nodes, --ntasks-per-node and --gpus-per-node.
#
#   sbatch configs/launch/slurm_4x8gpus.sh CONFIG [key=value …]
#
# Expects: `python` on the PATH has avmi; corpus and run folder on a disk that all machines share (or a corpus at an
# address, whose shards each machine caches); cores for 8 × (data.workers + 1) processes a machine.
#
# Begins the run, or goes on with it: the command has --resume. Five minutes before the time limit, and when the job is
# preempted, every process gets SIGTERM, the run saves a checkpoint and ends with code 75, and the job is queued again.
#
# Processes are started by srun itself, with no launcher between, so that the signal reaches them. Not run on a cluster here.
#SBATCH --job-name=avmi
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

machines=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
MASTER_ADDR=${machines%%$'\n'*} # the first one
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000)) # another for each job, in case two share a machine
export MASTER_ADDR MASTER_PORT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} # the GPU computes, the workers decode with one thread each

# What torchrun would set. --wait: when a process has ended, the others have two minutes to do so, too.
code=0
srun --wait=120 bash -c '
	export RANK=$SLURM_PROCID LOCAL_RANK=$SLURM_LOCALID
	export WORLD_SIZE=$SLURM_NTASKS LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
	exec python -m avmi pretrain "$@" --resume
' bash "$@" || code=$?

if ((code == 75)); then # saved and stopped, to be resumed
	scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
