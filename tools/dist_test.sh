#!/usr/bin/env bash
# Tests with several processes: tools/dist_test.sh CONFIG CHECKPOINT GPUS [arguments of tools/test.py]
# Several nodes: NNODES, NODE_RANK, MASTER_ADDR and PORT (29500). On one node a free port is picked unless PORT is set.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
if [ $# -lt 3 ]; then
    echo "usage: $0 CONFIG CHECKPOINT GPUS [arguments of tools/test.py]" >&2
    exit 2
fi
source "$here/_launch.sh"
config=$1 checkpoint=$2 gpus=$3
shift 3
launch "$here/test.py" "$gpus" "$config" "$checkpoint" "$@"
