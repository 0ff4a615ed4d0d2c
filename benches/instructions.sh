#!/usr/bin/env bash
# Counts the instructions of each part of a decision under callgrind and holds them against a baseline:
# unlike times, they are the same on a busy machine. Fails when one is more than 5 % over its baseline.
# `--update` writes the baseline anew; `--profile dev` counts the tests' build, which is less optimised and has a baseline of
# its own: tests/run.sh does. Needs valgrind. It knows no SHA extensions, so the draw and a record's hash are left out.
set -euo pipefail
cd "$(dirname "$0")/.."

tolerance=5
count=10000
# What the caches hold makes no difference here, so a small register will do.
enterprises=4000
# The controls, then what is measured: the case, what it is called, and the control to be taken off.
controls=(declare clone-request)
measured=(
  core core -
  decide-undrawn lookup+core declare
  decide-undrawn-missing lookup+core+orders declare
  decode decode -
  validate validate -
  usual read+validate -
  convert convert clone-request
  encode encode -
  answered answer -
  appended append -
)

update=false profile=bench
while (($# > 0)); do
  case $1 in
    --update) update=true ;;
    --profile)
      profile=${2-}
      shift
      ;;
    *) profile= ;;
  esac
  shift || break
done
if [[ $profile != bench && $profile != dev ]]; then
  echo "usage: benches/instructions.sh [--update] [--profile dev]" >&2
  exit 2
fi
baseline=benches/instructions.$profile.baseline

export CARGO_TERM_COLOR=never
# `tee /dev/stderr` would cut off a log file that standard error goes to.
program=$(cargo bench --locked --no-run --profile "$profile" --bench decision 2>&1 | tee >(cat >&2) | sed -n 's/^ *Executable .*(\(.*\))$/\1/p')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cases=("${controls[@]}")
for ((at = 0; at < ${#measured[@]}; at += 3)); do
  cases+=("${measured[at]}")
done
# Each call of `decision::counted` leaves a file: profile.1 for the first case and so on.
valgrind --quiet --tool=callgrind --callgrind-out-file="$scratch/profile" \
  --zero-before=decision::counted --dump-after=decision::counted \
  "$program" --enterprises "$enterprises" --iterations "$count" --count "${cases[@]}"

declare -A each=([-]=0)
for at in "${!cases[@]}"; do
  total=$(sed -n 's/^totals: //p' "$scratch/profile.$((at + 1))")
  each[${cases[at]}]=$((total / count))
done
figures=$(
  for ((at = 0; at < ${#measured[@]}; at += 3)); do
    echo "${measured[at + 1]} $((each[${measured[at]}] - each[${measured[at + 2]}]))"
  done
)

if $update; then
  {
    echo "# Instructions a decision, by benches/instructions.sh --profile $profile --update."
    echo "$figures"
  } >"$baseline"
fi

awk -v tolerance="$tolerance" '
  /^#/ { next }
  NR == FNR { baseline[$1] = $2; next }
  !heading++ { printf "%-20s %12s %10s %8s\n", "instructions", "a decision", "baseline", "change" }
  {
    change = ($1 in baseline) ? 100 * ($2 / baseline[$1] - 1) : 999
    verdict = change > tolerance ? "  over " tolerance " %" : change < -tolerance ? "  better: --update" : ""
    printf "%-20s %12d %10d %+7.1f%%%s\n", $1, $2, baseline[$1], change, verdict
    failed = failed || change > tolerance
  }
  END { exit failed }
' "$baseline" - <<<"$figures"
