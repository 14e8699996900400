# Sourced by dist_train.sh and dist_test.sh: `launch TOOL GPUS ARGS...` starts one process a GPU with torchrun
# (mmlocat/launch.py).
# NNODES, NODE_RANK, MASTER_ADDR and PORT are read from the environment; PYTHON names the interpreter.
launch() {
    local tool=$1 gpus=$2
    shift 2
    local name value
    for name in GPUS NNODES PORT; do
        value=$([ "$name" = GPUS ] && echo "$gpus" || echo "${!name:-1}")
        if ! [[ $value =~ ^[1-9][0-9]*$ ]]; then
            echo "Error: $name must be a positive whole number, got '$value'; call $0 without arguments for its usage" >&2
            exit 2
        fi
    done
    value=${NODE_RANK:-0}
    if ! [[ $value =~ ^[0-9]+$ ]] || [ "$value" -ge "${NNODES:-1}" ]; then
        echo "Error: NODE_RANK must be a whole number below NNODES (${NNODES:-1}), got '$value'" >&2
        exit 2
    fi
    local rendezvous
    if [ "${NNODES:-1}" -eq 1 ] && [ -z "${PORT:-}" ]; then
        # torchrun picks a free port, so two launches on one machine do not collide.
        rendezvous=(--standalone --local-addr=127.0.0.1)
    else
        rendezvous=(--nnodes="${NNODES:-1}" --node_rank="${NODE_RANK:-0}"
                    --master_addr="${MASTER_ADDR:-127.0.0.1}" --master_port="${PORT:-29500}")
    fi
    # exec: a signal to the script is one to torchrun, which hands it on to every process.
    export PYTHONPATH="$(dirname "$tool")/..${PYTHONPATH:+:$PYTHONPATH}"
    exec "${PYTHON:-python}" -m mmlocat.launch "${rendezvous[@]}" --nproc_per_node="$gpus" \
        "$tool" "$@" --launcher pytorch
}
