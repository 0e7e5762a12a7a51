#!/usr/bin/env bash
# Checks and measures on the GPU of this machine: tools/gpu_checks.sh FOLDER (make gpu)
#
# Times first, while nothing else runs; then the tests that need a GPU, beside compute-sanitizer where it is installed.
# FOLDER gets the two records that belong into benchmarks/results, and a log of everything else.  Fails if a check does.
set -uo pipefail
folder=${1:?which FOLDER shall get the results?}
python=${PYTHON:-python3}
"$python" -c 'import torch; raise SystemExit(not torch.cuda.is_available())' || {
  echo "$python sees no GPU: \`quamba-lab doctor\` says what is missing" >&2
  exit 2
}
out=$(mkdir -p "$folder" && cd "$folder" && pwd) || exit 2
cd "$(dirname "$0")/.." || exit 2
failed=0
tools=()  # of compute-sanitizer, by the process that runs each
trap 'kill $(jobs -p) 2>/dev/null' EXIT
trap 'exit 130' INT

say() { echo "[$SECONDS s] $*"; }

logged() {  # NAME COMMAND...: into FOLDER/NAME.log, its exit code last
  local log=$out/$1.log
  shift
  "$@" >"$log" 2>&1
  local rc=$?
  echo "exit code $rc" >>"$log"
  return $rc
}

say "results go to $out: times first, a few minutes ..."
logged folded_gpu "$python" benchmarks/folded_gpu.py --output "$out/folded.json" || failed=1
say "benchmarks/folded_gpu.py: $(tail -n 1 "$out/folded_gpu.log")"
logged bench "$python" -c 'from quamba_lab.cli import main; raise SystemExit(main())' \
  bench --device cuda --json "$out/bench.json" || failed=1
say "quamba-lab bench: $(tail -n 1 "$out/bench.log")"

if sanitizer=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null); then
  export PYTORCH_NO_CUDA_MEMORY_CACHING=1  # or one allocation holds many tensors
  for tool in memcheck initcheck racecheck; do
    option=$([ $tool = racecheck ] && echo --every-lane-arrives)
    logged $tool "$sanitizer" --tool $tool --error-exitcode 9 "$python" -m tools.ragged_scans $option &
    tools[$!]=$tool
  done
  unset PYTORCH_NO_CUDA_MEMORY_CACHING
else
  say "compute-sanitizer is not installed: left out"
fi
# Only the files that have such tests: the others need a browser, a JupyterLab and more to be collected.
logged pytest "$python" -m pytest -q -m gpu -p no:cacheprovider $(grep -l "mark\.gpu" tests/test_*.py) || failed=1
say "pytest -m gpu: $(tail -n 2 "$out/pytest.log" | tr '\n' ' ')"
for job in "${!tools[@]}"; do
  wait "$job" || failed=1
  log=$out/${tools[$job]}.log
  say "${tools[$job]}: $(grep SUMMARY "$log" | tail -n 1) $(tail -n 1 "$log")"
done
exit $failed
