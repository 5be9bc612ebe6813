#!/usr/bin/env bash
# tools/vitis_check.sh [KERNEL ...]: synthesizes the kernels with Vitis HLS (2023.1, the last with the U280) and lays its
# reports beside what the sources ask for and the loop model says: clock, resources, interval of every pipelined loop.
#
# Written without Vitis at hand and never run with it. Without `vitis_hls` on PATH it prints the model's side and ends
# well. Takes some minutes a kernel; reports stay in build/vitis. A loop slower than asked for makes it fail.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/lib.sh"
cd "$root"

part=xcu280-fsvh2892-2L-e
work=build/vitis
mkdir -p "$work"
"${CXX:-c++}" -std=c++17 -Isrc tools/hls_figures.cc -o "$work/hls_figures"
"$work/hls_figures" >"$work/figures.txt"

wanted=("$@")
[[ $# -gt 0 ]] || mapfile -t wanted < <(cut -d' ' -f1 "$work/figures.txt")
for kernel in "${wanted[@]}"; do
  grep -q "^$kernel " "$work/figures.txt" || die "no kernel \"$kernel\"; there are: $(cut -d' ' -f1 "$work/figures.txt" | xargs)"
done

if ! command -v vitis_hls >/dev/null; then
  echo "vitis_hls is not on PATH: nothing was synthesized. The loop model alone, at 300 MHz:"
  awk '{ printf "%-22s %12d cycles %10.3f ms  %s\n", $1, $2, $2 / 300e3, $3 }' "$work/figures.txt"
  exit 0
fi

status=0
for kernel in "${wanted[@]}"; do
  source=$(sed -n "s/.*MakeKernel(\"$kernel\", \"\([^\"]*\)\".*/\1/p" src/hls/design.h)
  cat >"$work/$kernel.tcl" <<TCL
open_project -reset $kernel
set_top $kernel
add_files $root/src/hls/$source -cflags "-std=c++14 -I$root/src"
open_solution -reset solution -flow_target vitis
set_part $part
create_clock -period 300MHz
csynth_design
exit
TCL
  (cd "$work" && vitis_hls -f "$kernel.tcl") >"$work/$kernel.log" 2>&1 || die "$kernel: vitis_hls failed; $work/$kernel.log"
  tools/vitis_report.py "$kernel" "$work/$kernel/solution/syn/report" "$work/figures.txt" || status=1
done
exit $status
