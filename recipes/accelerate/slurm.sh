#!/bin/bash
# Two machines with four GPUs each: sbatch recipes/accelerate/slurm.sh --config recipes/configs/wav2vec2_xlsr.yaml
# To continue a stopped job from its last checkpoint: sbatch ... --resume_from_checkpoint true
#SBATCH --job-name=hf_ser
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --time=12:00:00
#SBATCH --signal=INT@120

set -euo pipefail
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export OMP_NUM_THREADS=8

# SLURM_NODEID is known on each machine only, hence the inner shell; "$@" reaches it as its own arguments.
srun bash -c 'accelerate launch --config_file recipes/accelerate/multi_machine.yaml \
    --num_machines "$SLURM_NNODES" --num_processes "$((SLURM_NNODES * 4))" --machine_rank "$SLURM_NODEID" \
    --main_process_ip "$0" --main_process_port 29500 recipes/finetune.py "$@"' "$first" "$@"
