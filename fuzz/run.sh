#!/usr/bin/env bash
# fuzz/run.sh SECONDS [TARGET...]: builds the fuzzers and runs each target for so long, from its seeds and from what earlier runs
# found, in target/fuzz (or $FUZZ_FOLDER). One closing line a target, and their sum; fails if an input broke a promise, took ten
# seconds or more memory than may be, and says where that input lies.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
seconds=${1:?how many seconds a target}
shift

build=$(realpath -m "${CARGO_TARGET_DIR:-target}")
folder=$(realpath -m "${FUZZ_FOLDER:-$build/fuzz}")
program=$build/debug/examples/fuzz
memory_mb=${FUZZ_MEMORY_MB:-1024}

RUSTC_WORKSPACE_WRAPPER=$PWD/fuzz/instrumented.sh cargo build --locked --example fuzz
if (($# == 0)); then
  mapfile -t targets < <(FUZZ_LIST=1 "$program" 2>/dev/null)
  set -- "${targets[@]}"
fi

# Files of a log or a configuration are written a thousand times a second: best into memory.
TMPDIR=$(mktemp -d -p "$(if [[ -w /dev/shm ]]; then echo /dev/shm; else echo "${TMPDIR:-/tmp}"; fi)")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# words TARGET: the words of its seeds, as a dictionary.
words() {
  grep -aohE '[A-Za-z_][A-Za-z0-9_.-]{3,30}' "fuzz/seeds/$1"/* | sort -u | head -n 1000 | sed 's/.*/"&"/'
}

# figure NAME LOG: what libFuzzer counted.
figure() {
  sed -n "s/^stat::$1: *//p" "$2"
}

total=0 broken=()
for target; do
  corpus=$folder/corpus/$target log=$folder/$target.log
  mkdir -p "$corpus" "$folder/broken"
  words "$target" >"$TMPDIR/words"
  export FUZZ_TARGET=$target
  # Seeds of which none is taken any more would lead nowhere.
  FUZZ_CHECK=fuzz/seeds/$target "$program" >"$log" 2>&1 || {
    tail -n 20 "$log"
    broken+=("$target: no seed is taken")
    continue
  }
  status=0
  # -fork would hide what grows from run to run; the bound on memory is that of one process.
  "$program" -max_total_time="$seconds" -timeout=10 -rss_limit_mb="$memory_mb" -print_final_stats=1 -dict="$TMPDIR/words" \
    -artifact_prefix="$folder/broken/$target-" "$corpus" "fuzz/seeds/$target" >>"$log" 2>&1 || status=$?
  executions=$(figure number_of_executed_units "$log")
  total=$((total + ${executions:-0}))
  printf '%-13s %12s executions, %7s/s, corpus %5s, peak RSS %4s MiB\n' "$target" "${executions:-0}" \
    "$(figure average_exec_per_sec "$log")" "$(find "$corpus" -type f | wc -l)" "$(figure peak_rss_mb "$log")"
  if ((status != 0)); then
    grep -aE 'panicked at|^  (left|right):|ERROR: libFuzzer|Test unit written' -A1 "$log" | tail -n 30 || true
    broken+=("$target: $(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)")
  fi
done
echo "$total executions in all"
if ((${#broken[@]} > 0)); then
  printf 'broken: %s\n' "${broken[@]}"
  exit 1
fi
