#!/usr/bin/env bash
# tests/web/run.sh [FILE_test.mjs ...]: tests in node: parts of the chat page, the page in a browser against a server that
# can be told to fail, and the real server (PHIDIAS_PROGRAM, build/release/phidias) with OpenAI's client, curl, a browser
# and plain sockets. Needs node 18, npm, curl, chromium (or PHIDIAS_CHROMIUM); packages go to build/web-test/.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/../../tools/lib.sh"

node -e 'process.exit(process.versions.node.split(".")[0] >= 18 ? 0 : 1)' ||
  die "tests/web/run.sh: node $(node --version 2>/dev/null || echo 'is missing'); 18 or later is needed"
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
