#!/usr/bin/env bash
# The same tests as tests/run.sh at their long sizes (millions of rows, hundreds of kills), then the benchmarks.
# Takes hours. Any size that is set in the environment already is kept.
set -euo pipefail
cd "$(dirname "$0")/.."

export GREENLANE_LONG=${GREENLANE_LONG:-1}
export GREENLANE_ORACLE_SEEDS=${GREENLANE_ORACLE_SEEDS:-200}
export GREENLANE_WRITES=${GREENLANE_WRITES:-100000}
export GREENLANE_TRIGGER_RUNS=${GREENLANE_TRIGGER_RUNS:-5000}
export GREENLANE_TRIGGER_ROWS=${GREENLANE_TRIGGER_ROWS:-2000000}
export PROPTEST_CASES=${PROPTEST_CASES:-10000}
export GREENLANE_CARGO_TIMEOUT=${GREENLANE_CARGO_TIMEOUT:-14400}
export GREENLANE_E2E_TIMEOUT=${GREENLANE_E2E_TIMEOUT:-14400}

status=0
benches/run.sh || status=$?
tests/run.sh || status=$?
exit "$status"
