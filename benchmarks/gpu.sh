#!/usr/bin/env bash
# Measure and check the package on a machine with a GPU and no network, in one command of at most eight minutes.
#
#   bash benchmarks/gpu.sh [--tiny] [--sections chip base ...] [--seconds 420]
#
# First, on a machine with network: bash benchmarks/gpu_collect.sh, which fills build/gpu with wheels and recordings. The
# results go to $OUT (default build/gpu/out). --tiny runs all on the CPU with tiny models. PYTHON is the
# interpreter with PyTorch (default python3); the wheels are for Python 3.12, others use installed packages.
set -uo pipefail
cd "$(dirname "$0")/.."
began=$SECONDS
export OUT="${OUT:-$PWD/build/gpu/out}"
mkdir -p "$OUT"
python="${PYTHON:-python3}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 TOKENIZERS_PARALLELISM=false PYTHONUNBUFFERED=1
export TORCHINDUCTOR_CACHE_DIR="$work/inductor" TRITON_CACHE_DIR="$work/triton"
export PYTHONPATH="$PWD" # this tree's hf_ser, whatever is installed
export CUDA_VISIBLE_DEVICES="${CUDA_VISIBLE_DEVICES-0}"

seconds=420
words=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds) seconds="$2" && shift ;;
    --tiny) words+=(--tiny) && export OMP_NUM_THREADS=1 ;;
    *) words+=("$1") ;;
    esac
    shift
done

version="$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" || exit 1
if [ "$version" = 3.12 ] && compgen -G "build/gpu/wheels/*.whl" >/dev/null; then
    "$python" -m pip install -q --disable-pip-version-check --no-index --no-deps --no-compile --no-cache-dir \
        --upgrade --target "$work/site" build/gpu/wheels/*.whl || exit 1
    export PYTHONPATH="$PYTHONPATH:$work/site"
    if ! "$python" -c 'import hf_ser.training, peft' 2>"$work/import.log"; then
        tail -3 "$work/import.log"
        echo "The transformers wheel does not work with the installed packages; using the installed version." | tee -a "$OUT/gpu.log"
        rm -rf "$work"/site/{transformers,huggingface_hub,peft}*
    fi
fi
recordings=build/gpu/ravdess
dataset="$work/dataset"
if ! [ -d "$recordings" ]; then
    echo "No recordings in $recordings (see benchmarks/gpu_collect.sh); using generated speech." | tee -a "$OUT/gpu.log"
    "$python" recipes/generate.py --output_dir "$work/corpora" || exit 1
    recordings="$work/corpora/ravdess"
fi
"$python" recipes/prepare.py --ravdess "$recordings" --output_dir "$dataset" >"$work/prepare.log" 2>&1 ||
    { cat "$work/prepare.log"; exit 1; }
echo "ready after $((SECONDS - began)) s" | tee -a "$OUT/gpu.log"
"$python" benchmarks/gpu.py --dataset "$dataset" --recordings "$recordings" \
    --seconds "$((seconds - SECONDS + began))" --out "$OUT" "${words[@]}"
