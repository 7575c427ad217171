#!/usr/bin/env bash
# Several processes on the CPUs of one machine; negatives come from all of them.
#
#   PROCESSES=2 configs/launch/cpu_processes.sh CONFIG [key=value …]
#
# Machine: PROCESSES × (data.workers + 1) cores or more. The batch is PROCESSES × data.batch_clips.
# Begins the run, or goes on with it: the command has --resume.
#
# Not `accelerate launch --cpu --num_processes 2`: that starts one process and says nothing. And without ACCELERATE_USE_CPU
# torchrun's processes would not find each other on a machine without GPUs; avmi refuses that.
set -euo pipefail

processes=${PROCESSES:-2}
# Threads of each process: its share of the cores, one of which decodes (data.workers).
share=$(($(nproc) / processes - 1))
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((share > 1 ? share : 1))}
export ACCELERATE_USE_CPU=true
exec python -m torch.distributed.run --standalone --nproc_per_node "$processes" -m avmi pretrain "$@" --resume
