#!/usr/bin/env bash
# The compiler for what is fuzzed, as RUSTC_WORKSPACE_WRAPPER: this crate tells libFuzzer where it has been and what it has
# compared; its dependencies are those of any other build. No nightly toolchain is needed for that.
set -euo pipefail
for argument; do
  if [[ $argument == build_script_build ]]; then
    exec "$@"
  fi
done
exec "$@" --cfg fuzzing -Cdebug-assertions -Coverflow-checks \
  -Cpasses=sancov-module \
  -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
  -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares
