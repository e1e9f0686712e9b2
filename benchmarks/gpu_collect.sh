#!/usr/bin/env bash
# Collect the files for benchmarks/gpu.sh on a machine without network in build/gpu (ignored by git): wheels for Python
# 3.12 on x86-64 Linux with PyTorch already installed, and real recordings of five actors of RAVDESS.
#
#   bash benchmarks/gpu_collect.sh [folder of RAVDESS]
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
ravdess="${1:-${HF_SER_CORPORA:-../shared/corpora}/ravdess}"
folder=build/gpu
# Packages missing from the image of gpu.sh, and transformers, huggingface_hub and peft in the project's versions.
names=(audiomentations audioread cffi click datasets decorator dill evaluate httpcore2 httpx2 huggingface-hub
    jsonschema jsonschema-specifications kagglehub kagglesdk lazy-loader librosa lightgbm miniaudio multiprocess numpy-minmax
    numpy-rms peft platformdirs pooch pycparser python-stretch referencing rpds-py soundfile soxr transformers truststore)

platforms=()
for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux_2_12 manylinux2010 \
    manylinux_2_5 manylinux1; do
    platforms+=(--platform "${tag}_x86_64")
done
rm -rf "$folder/wheels" "$folder/ravdess"
mkdir -p "$folder/wheels" "$folder/ravdess"
"$python" -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
    "${platforms[@]}" --constraint constraints.txt --dest "$folder/wheels" "${names[@]}"
for actor in 01 02 03 04 05; do
    cp -r "$ravdess/Actor_$actor" "$folder/ravdess/"
done
du -sh "$folder/wheels" "$folder/ravdess" "$folder"
