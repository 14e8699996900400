#!/usr/bin/env bash
# Trains with several processes: tools/dist_train.sh CONFIG GPUS [arguments of tools/train.py]
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT (29500). On one node a free port is picked unless PORT is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 2 ]; then
    echo "usage: $0 CONFIG GPUS [arguments of tools/train.py]" >&2
    exit 2
fi
source "$here/_launch.sh"
config=$1 gpus=$2
shift 2
launch "$here/train.py" "$gpus" "$config" "$@"
