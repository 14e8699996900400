# Sourced by slurm_train.sh and slurm_test.sh: `on_slurm PARTITION JOB_NAME TOOL ARGS...` runs a tool under srun.
# GPUS, GPUS_PER_NODE, CPUS_PER_TASK, PORT and SRUN_ARGS are read from the environment; PYTHON names the interpreter.
on_slurm() {
    local partition=$1 job_name=$2 tool=$3
    shift 3
    local gpus=${GPUS:-8}
    local per_node=${GPUS_PER_NODE:-$((gpus < 8 ? gpus : 8))}
    # Two jobs that share a node must not share a port; mmengine would take 29500 for both.
    export MASTER_PORT=${PORT:-$((20000 + RANDOM % 20000))}
    export PYTHONPATH="$(dirname "$tool")/..${PYTHONPATH:+:$PYTHONPATH}"
    # SRUN_ARGS is split into words on purpose.
    # shellcheck disable=SC2086
    srun --partition="$partition" --job-name="$job_name" --gres=gpu:"$per_node" --ntasks="$gpus" \
        --ntasks-per-node="$per_node" --cpus-per-task="${CPUS_PER_TASK:-5}" --kill-on-bad-exit=1 ${SRUN_ARGS:-} \
        "${PYTHON:-python}" -u "$tool" "$@" --launcher slurm
}
