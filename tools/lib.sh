# shellcheck shell=bash
# What ./run, ./check and the scripts in tools/ share. Sourced, never run; needs `set -euo pipefail` before it.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

say() {
  printf '%s\n' "$*" >&2
}

die() {
  say "$@"
  exit 1
}

# use_ccache: compilations go through ccache where it is installed. Only a first configure looks at this.
use_ccache() {
  if [[ -z ${CMAKE_CXX_COMPILER_LAUNCHER:-} ]] && command -v ccache >/dev/null; then
    export CMAKE_CXX_COMPILER_LAUNCHER=ccache
  fi
  export CCACHE_BASEDIR=$root CCACHE_NOHASHDIR=1
}

# cached PRESET VARIABLE: the variable's value in the preset's CMake cache, or nothing.
cached() {
  local cache=$root/build/$1/CMakeCache.txt
  [[ ! -f $cache ]] || sed -n "s/^$2:[A-Z]*=//p" "$cache"
}

# configure PRESET [-DNAME=VALUE ...]: configures when that hasn't been done, or when one of the values differs from the
# cached one; otherwise leaves everything to ninja, which configures again by itself when a CMake file has changed.
configure() {
  local preset=$1 home needed='' fresh=() setting name
  shift
  home=$(cached "$preset" CMAKE_HOME_DIRECTORY)
  if [[ -n $home && $home != "$root" ]]; then
    fresh=(--fresh)  # the checkout was moved or copied with its build folder
    needed=1
  fi
  for setting in "$@"; do
    name=${setting#-D}
    if [[ $(cached "$preset" "${name%%=*}") != "${name#*=}" ]]; then
      needed=1
    fi
  done
  if [[ -n $needed || ! -f $root/build/$preset/build.ninja ]]; then
    use_ccache
    cmake -S "$root" --preset "$preset" "${fresh[@]}" "$@"
  fi
}

# build PRESET LOG [TARGET ...]: builds build/PRESET, all of it or the targets. The output goes to LOG and is shown only
# on failure; on a terminal one line on stderr tells how far it is.
build() {
  local preset=$1 log=$2 targets=()
  shift 2
  if [[ $# -gt 0 ]]; then
    targets=(--target "$@")
  fi
  if ! NINJA_STATUS='[%f/%t] ' cmake --build "$root/build/$preset" "${targets[@]}" 2>&1 | tee -a "$log" | show_progress; then
    show_end "$log"
    return 1
  fi
}

show_progress() {
  local line shown=
  if [[ ! -t 2 ]]; then
    cat >/dev/null
    return
  fi
  while IFS= read -r line; do
    if [[ $line == \[*\]* && $line != *'Re-checking globbed'* ]]; then
      printf '\r\e[K%.78s' "$line" >&2
      shown=1
    fi
  done
  if [[ -n $shown ]]; then
    printf '\r\e[K' >&2
  fi
}

show_end() {
  say "--- the end of $1:"
  tail -n 60 -- "$1" >&2
}

# lock_build NAME: one at a time for what writes into build/NAME; held until descriptor 9 is closed.
lock_build() {
  mkdir -p "$root/build"
  exec 9>"$root/build/$1.lock"
  if command -v flock >/dev/null && ! flock -n 9; then
    say "waiting for another build in build/$1"
    flock 9
  fi
}

unlock_build() {
  exec 9>&-
}
