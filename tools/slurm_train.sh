#!/usr/bin/env bash
# Trains on a Slurm cluster: [GPUS=8] tools/slurm_train.sh PARTITION JOB_NAME CONFIG [arguments of tools/train.py]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 3 ]; then
    echo "usage: [GPUS=8] $0 PARTITION JOB_NAME CONFIG [arguments of tools/train.py]" >&2
    exit 2
fi
source "$here/_slurm.sh"
partition=$1 job_name=$2
shift 2
on_slurm "$partition" "$job_name" "$here/train.py" "$@"
