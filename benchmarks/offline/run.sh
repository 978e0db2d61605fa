#!/bin/bash
# Installs the payload once and runs one benchmark. See "Without a network" in benchmarks/README.md.
#
# Variables: NAME of the results, OUT (folder for them), TREE (checkout to take in place of the payload's),
# TARGETS, CONC, REPS, SECONDS_EACH, CLIENTS, MODEL, MEMORY (share of the GPU's), EXTRA (more options of
# `benchmarks run`), LIMIT (seconds for the measurements), SETUP_ONLY=1.
set -u
pay=$(cd "$(dirname "$0")" && pwd)
tree=$pay/tree
venv=${VENV:-/tmp/v}
name=${NAME:-run}
mkdir -p "${OUT:-out}/$name"
out=$(cd "${OUT:-out}/$name" && pwd)
work=$pay/runs/$name
port=${PORT:-28000}

inherited="PYTHONPATH=${PYTHONPATH:-} PYTHONHOME=${PYTHONHOME:-} LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}"
unset PYTHONDONTWRITEBYTECODE PYTHONPATH PYTHONHOME
export BENCHMARKS_OFFLINE=1 PYTHONUNBUFFERED=1 LANG=C.UTF-8 LC_ALL=C.UTF-8
export VLLM_USE_FLASHINFER_SAMPLER=${VLLM_USE_FLASHINFER_SAMPLER:-0}
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1

step() {  # step NAME COMMAND...: run it, say how long it took, go on whatever came of it
    local title=$1 began=$EPOCHREALTIME code
    shift
    echo "== $title"
    "$@"
    code=$?
    echo "-- $title: exit code $code, $(seconds "$began") s (since the start: $(seconds "$start") s)"
    return "$code"
}

seconds() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

look() {
    date
    nvidia-smi --query-gpu=name,driver_version,memory.used,memory.total --format=csv,noheader
    nproc
    df -h /tmp /dev/shm | sed 1d
    command -v python3 gcc nvcc
    echo "inherited: $inherited"
    ls "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h"
    python3 -c 'import sys, sysconfig; print(sys.version, sys.executable, sys.prefix, sys.base_prefix)
print("LIBDIR", sysconfig.get_config_var("LIBDIR"), "LDLIBRARY", sysconfig.get_config_var("LDLIBRARY"))
sys.exit(sys.version_info[:2] != (3, 12))' || echo "NOT PYTHON 3.12: the wheels will not fit"
}

unpack() {
    python3 -m zipfile -e "$pay"/server/nvidia_pytriton-*.whl "$pay/triton" &&
        chmod 755 "$pay"/triton/pytriton/tritonserver/bin/tritonserver \
            "$pay"/triton/pytriton/tritonserver/python_backend_stubs/*/triton_python_backend_stub &&
        python3 -m zipfile -e "$pay"/wheels/uv-*.whl "$pay/unpacked-uv" &&
        install -m 755 "$pay"/unpacked-uv/uv-*.data/scripts/uv "$pay/uv"
}

take_tree() {  # a copy, so that everything of a run works below one folder
    rm -rf "$tree" && mkdir "$tree" && cp -r "$TREE/backend_src" "$TREE/benchmarks" "$tree/"
}

make_venv() {
    rm -rf "$venv" && python3 -m venv --without-pip "$venv" &&
        python3 "$tree/benchmarks/offline/lend.py" "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
}

install_wheels() {
    if ! "$pay/uv" pip install --quiet --offline --no-config --no-index --no-deps \
        --cache-dir "$pay/uv-cache" --python "$venv/bin/python" "$pay"/wheels/*.whl; then
        echo "uv failed, so pip installs"
        python3 -m pip --python "$venv/bin/python" install -q --no-index --no-deps --no-compile "$pay"/wheels/*.whl
    fi
}

compile() {
    # Some packages carry templates that are no valid Python.
    "$venv/bin/python" -m compileall -q -j 0 "$venv"/lib/python3.*/site-packages >"$pay/compile.log" 2>&1 || true
    "$venv/bin/python" -m compileall -q "$tree/benchmarks" || true
}

check() {  # both at once: each mostly waits for files
    python -m benchmarks.offline.facts stub "$pay/triton" "$port" >"$work/stub.txt" 2>&1 &
    local stub=$! code=0
    python -m benchmarks.offline.facts imports || code=1
    wait "$stub" || code=1
    cat "$work/stub.txt"
    return "$code"
}

clean() {
    python3 "$tree/benchmarks/offline/strays.py" "$pay"
    rm -f /dev/shm/bench"$port"_*
}

measure() {
    local extra=()
    read -r -a extra <<<"${EXTRA:-}"
    cd "$tree" || return
    timeout --signal=TERM --kill-after=30 "${LIMIT:-420}" "$venv/bin/python" -m benchmarks run \
        --model "${MODEL:-opt-125m}" --name "$name" --targets "${TARGETS:-engine,triton,openai}" \
        --triton "$pay/triton" --backend "$tree/backend_src" --port "$port" \
        --concurrency "${CONC:-256}" --repetitions "${REPS:-2}" --seconds "${SECONDS_EACH:-4}" \
        --client-processes "${CLIENTS:-3}" --work "$work" --out "$out" --no-plot \
        --engine-arg gpu_memory_utilization="${MEMORY:-0.3}" --engine-arg max_model_len=1024 \
        --engine-arg max_num_seqs=256 --engine-arg max_num_batched_tokens=8192 "${extra[@]}"
}

show_failures() {  # whole tracebacks, from the servers' own logs
    local log first errors='Traceback|^ImportError|error while loading|terminate called|^E[0-9]{4} '
    for log in "$work"/*.log; do
        first=$(grep -n -m 1 -E "$errors" "$log" | cut -d: -f1)
        if [ -n "$first" ]; then
            echo "--- $log, from its first error:"
            tail -n "+$first" "$log" | head -n 80 | cut -c 1-300
        fi
    done
}

collect() {
    mv "$out"/profile-*.txt "$work/" 2>/dev/null
    tar -C "$work" --exclude=tritonserver --exclude=tokenizer.json -czf "$out/logs.tar.gz" .
    [ -e "$out/$name.md" ] || python -m benchmarks report --no-plot "$out/$name.json"
    ls -l "$out"
    cat "$out/$name.md"
}

main() {
    [ -z "${TREE:-}" ] || step "take the tree of $TREE" take_tree || return 3
    # With the machine's own python3, before the environment's comes first.
    step "look around" look
    if [ ! -e "$venv/installed" ]; then
        step "unpack" unpack
        step "make the environment" make_venv || return 3
        step "install" install_wheels || return 3
        step "compile to byte code" compile
        touch "$venv/installed"
    fi
    export VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
    step "end what an earlier run left" clean
    cd "$tree" || return 3
    if [ ! -e "$venv/checked" ]; then
        step "imports, and Triton with a stub" check && touch "$venv/checked"
    fi
    [ "${SETUP_ONLY:-0}" = 1 ] && return 0
    step "measure" measure
    local code=$?
    [ $code -eq 0 ] || show_failures
    step "end what is left" clean
    step "collect" collect
    echo "every step until here took $(seconds "$start") s"
    return "$code"
}

start=$EPOCHREALTIME
mkdir -p "$work"
main 2>&1 | tee -a "$out/run.log"
exit "${PIPESTATUS[0]}"
