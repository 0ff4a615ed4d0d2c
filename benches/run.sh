#!/usr/bin/env bash
# Builds the benchmarks and prints all figures: time, memory, allocations, instructions.
# Fails when a part takes more instructions than benches/instructions.bench.baseline allows.
# GREENLANE_BENCH_ENTERPRISES sets the size of the register.
set -euo pipefail
cd "$(dirname "$0")/.."

cargo bench --bench decision -- --enterprises "${GREENLANE_BENCH_ENTERPRISES:-1000000}" "$@"
echo
cargo bench --bench disturbance -- --enterprises "${GREENLANE_BENCH_ENTERPRISES:-1000000}"
echo
cargo bench --bench audit
echo
# CPU of the real server over the wire, with the audit log and without.
cargo bench --bench wire
echo
# Shipments held, answers to terminals, and watchers told of a downgrade.
cargo bench --bench terminals
echo
# What overload, a flooding caller and abuses of HTTP/2 cost those who behave.
cargo bench --bench overload
echo
cargo bench --bench snapshot -- --enterprises "${GREENLANE_BENCH_ENTERPRISES:-1000000}"
echo
# What allocates does not hang on optimisation, and this build is the tests'.
cargo bench --profile dev --bench allocations
echo
benches/instructions.sh
