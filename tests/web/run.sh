#!/usr/bin/env bash
# tests/web/run.sh [FILE_test.mjs ...]: tests of the chat page: units in node, the page itself in Debian's chromium (or
# PHIDIAS_CHROMIUM). Needs node 20, npm, chromium; packages go to build/web-test/.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../tools/lib.sh"

work=$root/build/web-test
mkdir -p "$work"
lock_build web-test
rm -f "$work"/*.mjs
cp "$root"/tests/web/*.mjs "$root/tests/web/package.json" "$work/"
cd "$work"
if ! cmp -s "$root/tests/web/package-lock.json" installed-lock.json || [[ ! -d node_modules ]]; then
  rm -f installed-lock.json
  cp "$root/tests/web/package-lock.json" .
  npm ci --omit=optional --ignore-scripts --no-audit --no-fund >&2
  cp package-lock.json installed-lock.json
fi
[[ $# -gt 0 ]] || set -- *_test.mjs
PHIDIAS_ROOT=$root exec node --test --test-concurrency=1 "$@"
