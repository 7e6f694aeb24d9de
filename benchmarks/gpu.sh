#!/bin/sh
# All that one NVIDIA GPU can show, in 12 minutes at most; figures go to the folder $1.
set -eux
out=${1:?say a folder for the figures}
mkdir -p "$out"
timeout 90 python -m pytest -q tests/test_gpu.py | tee "$out/tests.txt" || true
timeout 60 python benchmarks/gpu.py | tee "$out/steps.txt" || true
timeout 120 python benchmarks/quality.py params/default.yaml --seeds 0 1 2 --keep "$out/default.json" || true
timeout 300 python benchmarks/side_by_side.py params/default.yaml benchmarks/gpu_recipes.yaml --minutes 4.5 | tee "$out/recipes.jsonl"
timeout 150 python benchmarks/quality.py params/gpu.yaml --keep "$out/gpu.json"
