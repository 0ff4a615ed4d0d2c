#!/usr/bin/env bash
# Installs what the tests need and runs them all: cargo tests, doctests, end-to-end tests in Python, the fuzzers for a while, and
# what the parts of a decision take in instructions.
# Needs Rust, a C and a C++ compiler, Python 3 with pip and venv, and apt for whatever else is missing.
# Closes with one line, "N passed, N failed", and fails if any failed. The whole logs are in target/logs.
# Sourced, it only defines its functions: .ci/run uses them too.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
logs=$target/logs
venv=$target/tests-venv
node=$target/tests-node
buf=$node/node_modules/.bin/buf
export CARGO_TERM_COLOR=never PYTHONDONTWRITEBYTECODE=1
mkdir -p "$logs"

# try NAME COMMAND...: runs it with its output in a log, says how long it took, shows the log's end if it failed, and
# leaves its exit code in $status. Never call it in a condition: bash then ignores `set -e` within the command too.
try() {
  local name=$1 log from=$SECONDS
  shift
  log=$logs/${name// /-}.log
  printf '%-22s ' "$name"
  set +e
  (set -e && "$@") >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if ((status == 0)); then
    printf 'ok      %4d s\n' $((SECONDS - from))
  else
    printf 'FAILED  %4d s  (exit %d, %s)\n' $((SECONDS - from)) "$status" "$log"
    tail -n 80 "$log" | sed 's/^/    /'
  fi
}

# step NAME COMMAND...: as try, and ends the script if it failed.
step() {
  try "$@"
  if ((status != 0)); then
    exit "$status"
  fi
}

# once FOLDER FILE... -- COMMAND...: fills the folder by the command, unless that was done with the same files already.
once() {
  local stamp=$1/.made-from files=() sum
  shift
  while [[ $1 != -- ]]; do
    files+=("$1")
    shift
  done
  shift
  sum=$(cat "${files[@]}" | cksum)
  if [[ -f $stamp && $(<"$stamp") == "$sum" ]]; then
    return 0
  fi
  "$@"
  echo "$sum" >"$stamp"
}

# Installs the Debian packages of what is missing. Not a gate: what stays missing fails where it is used.
# The tests start servers of their own: the packages shall neither make a database cluster nor start anything.
install_system_tools() (
  missing=() sudo=()
  for command in sqlite3 valgrind openssl faketime pgbouncer prometheus chromium; do
    command -v "$command" || missing+=("$command")
  done
  compgen -G '/usr/lib/postgresql/*/bin/initdb' || missing+=(postgresql)
  command -v c++ || missing+=(g++)
  command -v ip || missing+=(iproute2)
  command -v node || missing+=(nodejs)
  command -v npm || missing+=(npm)
  python3 -c 'import ensurepip, venv' || missing+=(python3-venv)
  if ((${#missing[@]} == 0)); then
    return 0
  fi
  if ! command -v apt-get; then
    echo "no apt-get here, and missing: ${missing[*]}"
    return 0
  fi
  if ((EUID != 0)); then
    sudo=(sudo -n)
  fi
  files=()
  trap '"${sudo[@]}" rm -f "${files[@]}"' EXIT
  if [[ ! -e /usr/sbin/policy-rc.d ]]; then
    files+=(/usr/sbin/policy-rc.d)
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee /usr/sbin/policy-rc.d
    "${sudo[@]}" chmod 755 /usr/sbin/policy-rc.d
  fi
  files+=(/etc/postgresql-common/createcluster.d/greenlane-tests.conf)
  "${sudo[@]}" mkdir -p /etc/postgresql-common/createcluster.d
  echo 'create_main_cluster = false' | "${sudo[@]}" tee "${files[-1]}"
  "${sudo[@]}" apt-get update -qq
  "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${missing[@]}"
)

install_python_tools() {
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement tests/e2e/requirements.txt
}

install_node_tools() {
  rm -rf "$node"
  mkdir -p "$node"
  cp tests/e2e/package.json tests/e2e/package-lock.json tests/e2e/.npmrc "$node"
  # Not `npm ci`: it refuses a lock file that leaves out the other platforms' optional packages.
  npm install --prefix "$node" --ignore-scripts --no-audit --no-fund --loglevel=error
}

node_tools() {
  once "$node" tests/e2e/package.json tests/e2e/package-lock.json -- install_node_tools
}

python_tools() {
  once "$venv" tests/e2e/requirements.txt -- install_python_tools
}

# Builds the binary too: the integration tests ask for it.
build() {
  cargo test --locked --no-run --lib --bins --tests --bench decision
  test -x "$target/debug/greenlane"
}

cargo_tests() {
  if cargo nextest --version; then
    timeout -k 30 "${GREENLANE_CARGO_TIMEOUT:-1200}" \
      cargo nextest run --locked --lib --bins --tests --no-fail-fast --status-level fail --final-status-level fail
  else
    timeout -k 30 "${GREENLANE_CARGO_TIMEOUT:-1200}" \
      cargo test --locked --lib --bins --tests --no-fail-fast
  fi
}

doctests() {
  timeout -k 30 600 cargo test --locked --doc
}

# Most of these tests wait for servers and clocks: files run beside each other, the tests of one file one after the other.
end_to_end() {
  # A test waits for its conditions, but three at a time on two cores can starve one beyond its deadline: what fails is run
  # once more, and told of.
  GREENLANE_BIN=${GREENLANE_BIN:-$target/debug/greenlane} BUF=$buf NODE_MODULES=$node/node_modules timeout -k 30 "${GREENLANE_E2E_TIMEOUT:-1200}" \
    "$venv/bin/python" -m pytest tests/e2e -n "${GREENLANE_E2E_PROCESSES:-3}" --dist loadfile --no-loadscope-reorder -o tmp_path_retention_policy=failed --reruns 1 -q -rsR -p no:cacheprovider --color=no
}

# Bad input for a few seconds a target, from the seeds alone; what breaks something is kept in target/fuzz-short.
fuzzers() {
  rm -rf "$target/fuzz-short"
  # Built cheaply: it runs for a minute.
  CARGO_PROFILE_DEV_OPT_LEVEL=0 FUZZ_FOLDER=$target/fuzz-short timeout -k 30 "${GREENLANE_FUZZ_TIMEOUT:-600}" fuzz/run.sh "${GREENLANE_FUZZ_SECONDS:-3}"
}

# Instructions are as many on a busy machine: they are counted beside the suites, most of which wait, and give way to them.
begin_instructions() {
  rm -f "$logs/instructions.status"
  {
    set +e
    nice -n 19 timeout -k 30 1200 benches/instructions.sh --profile dev >"$logs/instructions.counted.log" 2>&1
    echo "$?" >"$logs/instructions.status"
  } &
}

instructions() {
  cat "$logs/instructions.counted.log"
  exit "$(<"$logs/instructions.status")"
}

# count WORD LOG: the sum of the numbers before WORD in the summary lines of nextest, cargo test or pytest.
count() {
  { grep -E '^ *Summary \[|^test result:|^[0-9]+ [a-z]+.* in [0-9.]+s' "$2" || true; } |
    { grep -oE "[0-9]+ ($1)\b" || true; } | awk '{ sum += $1 } END { print sum + 0 }'
}

# Runs every suite, whatever becomes of the others, and adds up what they count.
main() {
  local suite log failures passed=0 failed=0
  try 'system tools' install_system_tools
  step 'node tools' node_tools
  step 'python tools' python_tools
  step 'build' build
  begin_instructions
  for suite in cargo_tests doctests end_to_end; do
    log=$logs/$suite.log
    try "$suite" "$suite"
    sed -n 's/^SKIPPED/    skipped/p; s/^RERUN/    failed once, run again:/p' "$log"
    passed=$((passed + $(count passed "$log")))
    failures=$(count 'failed|errors?|timed out' "$log")
    if ((status != 0 && failures == 0)); then
      failures=1 # It did not come as far as counting.
    fi
    failed=$((failed + failures))
  done
  wait
  for suite in instructions fuzzers; do
    try "$suite" "$suite"
    if ((status == 0)); then
      passed=$((passed + 1))
    else
      failed=$((failed + 1))
    fi
  done
  echo "took $((SECONDS)) s"
  echo "$passed passed, $failed failed"
  ((failed == 0))
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
  main
fi
