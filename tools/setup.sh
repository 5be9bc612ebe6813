#!/usr/bin/env bash
# tools/setup.sh build|check: installs the Debian packages that building (or building and checking) needs and that
# aren't there yet. Says what it does on stderr; takes a few milliseconds when nothing is missing.
# PHIDIAS_SKIP_SETUP=1 turns it off, for machines that have the tools from elsewhere.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "${BASH_SOURCE[0]}")/lib.sh"

group=${1:-build}
case $group in
  build) groups=build ;;
  check) groups='build|check' ;;
  *) die "usage: tools/setup.sh build|check" ;;
esac
if [[ -n ${PHIDIAS_SKIP_SETUP:-} ]]; then
  exit 0
fi

wanted=()
while read -r needed_by package command _; do
  if [[ $needed_by =~ ^($groups)$ ]] && ! { [[ -n $command ]] && command -v "$command" >/dev/null; }; then
    wanted+=("$package")
  fi
done <"$root/tools/dependencies.txt"

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "no apt-get here, so nothing is installed; needed are (by their Debian 12 names): ${wanted[*]}"
  exit 0
fi

installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  if [[ $'\n'$installed$'\n' != *$'\n'"$package installed"$'\n'* ]]; then
    missing+=("$package")
  fi
done
if [[ ${#missing[@]} -eq 0 ]]; then
  exit 0
fi

by_hand="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
as_root=()
if [[ $EUID -ne 0 ]]; then
  command -v sudo >/dev/null ||
    die "missing packages: ${missing[*]}
run this as root, then try again: $by_hand
(or set PHIDIAS_SKIP_SETUP=1 if the tools are there by other means)"
  as_root=(sudo)
fi
apt() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null >&2
}

say "installing missing packages: ${missing[*]}"
apt update || say "apt-get update failed; trying with the package lists that are here"
apt install -y --no-install-recommends "${missing[@]}" ||
  die "could not install: ${missing[*]}
run this as root, then try again: $by_hand"
