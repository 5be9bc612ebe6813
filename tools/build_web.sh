#!/usr/bin/env bash
# tools/build_web.sh [--check]: builds the chat page from src/serve/web/ into src/serve/web/dist/, which is in git so that
# building phidias needs neither node nor a network. --check only compares: does the committed page come from the sources?
# Needs node 20.19 or later and npm. Works in build/web/; packages are those of package-lock.json, by their hashes.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

[[ $# -eq 0 || $* == --check ]] || die "usage: tools/build_web.sh [--check]"
command -v npm >/dev/null || die "tools/build_web.sh: npm is not installed (Debian: apt-get install nodejs npm)"

sources=$root/src/serve/web
work=$root/build/web
lock_build web
mkdir -p "$work"
rm -rf "$work/src" "$work/dist"
cp -r "$sources/src" "$sources/index.html" "$sources/vite.config.js" "$sources/package.json" "$work/"
cd "$work"
if ! cmp -s "$sources/package-lock.json" installed-lock.json || [[ ! -d node_modules ]]; then
  rm -f installed-lock.json
  cp "$sources/package-lock.json" .
  npm ci --omit=optional --ignore-scripts --no-audit --no-fund >&2
  cp package-lock.json installed-lock.json
fi
npx --no-install vite build --logLevel warn >&2

if [[ ${1:-} == --check ]]; then
  diff -rq dist "$sources/dist" >&2 || die "src/serve/web/dist is not what its sources give: run tools/build_web.sh"
  say "src/serve/web/dist is what its sources give"
else
  mkdir -p "$sources/dist"
  cp dist/* "$sources/dist/"
  say "src/serve/web/dist/index.html: $(stat -c %s dist/index.html) bytes"
fi
