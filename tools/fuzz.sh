#!/usr/bin/env bash
# tools/fuzz.sh NAME [SECONDS] [libFuzzer's flags]: runs the fuzzer of tests/fuzz/NAME_fuzz.cc, built by `./check fuzz` or
# by `cmake --preset fuzz && cmake --build --preset fuzz`. What it finds interesting is kept in build/fuzz/corpus/NAME
# and used again; an input that fails is written to build/fuzz/crashes/NAME-*.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

[[ $# -gt 0 ]] || die "usage: tools/fuzz.sh NAME [SECONDS] [libFuzzer's flags]"
name=$1
seconds=${2:-60}
shift "$(($# < 2 ? $# : 2))"
cd "$root"
program=build/fuzz/fuzz_$name
[[ -x $program ]] || die "$program is not there; build it with: ./check fuzz"

# libFuzzer takes folders, so the seeds are gathered in one.
seeds=build/fuzz/seeds/$name
rm -rf "$seeds"
mkdir -p "$seeds" "build/fuzz/corpus/$name" build/fuzz/crashes
count=0
while read -r fuzzer file; do
  if [[ $fuzzer == "$name" ]]; then
    count=$((count + 1))
    cp "$file" "$seeds/$count"
  fi
done <tests/fuzz/seeds.txt
if [[ -d tests/fuzz/corpus/$name ]]; then
  cp tests/fuzz/corpus/"$name"/* "$seeds/"
fi

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
exec "$program" -max_total_time="$seconds" -max_len=524288 -timeout=25 -rss_limit_mb=2048 \
  -artifact_prefix="build/fuzz/crashes/$name-" "$@" "build/fuzz/corpus/$name" "$seeds" </dev/null
