#!/usr/bin/env bash
# tools/bambu_check.sh [STAGE ...]: the kernels' arithmetic stages through an open HLS compiler.
#
# Each of quantize, multiply, dequantize, gelu, normalize, softmax, tiled_multiply, tiled_multiply_i4, tiled_requantize (tools/bambu/) runs as C against ref/'s values. Where
# PandA-Bambu 2024.10's `bambu` is on PATH, it then makes Verilog of the stage, which Verilator simulates with the
# same test bench, and yosys, if it is there too, counts what the stage takes. Without bambu the script says so and ends
# well. What this shows: that a stage is synthesizable and right. What it doesn't: Vitis's speed (bambu pipelines no loop).
# Everything made lies in build/bambu; generated Verilog holds LGPL library parts and isn't committed.
set -euo pipefail
# shellcheck source=tools/lib.sh
source "$(dirname -- "$(readlink -f -- "${BASH_SOURCE[0]}")")/lib.sh"
cd "$root"

all_stages=(quantize multiply dequantize gelu normalize softmax tiled_multiply tiled_multiply_i4 tiled_requantize)
device=xcu55c-2Lfsvh2892-VVD
work=build/bambu
cxx=${CXX:-c++}
flags=(-O2 -ffp-contract=off -Wall -Wno-unknown-pragmas -Wno-unused-label)

make_values() {
  "$cxx" -std=c++20 "${flags[@]}" -Isrc tools/bambu/make_values.cc src/ref/integer_ops.cc \
    src/ref/linear_i4.cc src/ref/linear_s8.cc src/ref/ops.cc -o "$work/make_values"
  "$work/make_values" >"$work/values.h"
}

run_as_c() {
  local stage=$1
  "$cxx" -std=c++20 "${flags[@]}" -Isrc -Isrc/hls/csim -Itools/bambu -I"$work" "tools/bambu/$stage.cc" \
    "tools/bambu/${stage}_tb.cc" "$work/libcsim.a" -pthread -o "$work/$stage"
  "$work/$stage"
}

make_csim() {
  local source objects=()
  for source in src/hls/csim/dataflow.cc src/hls/csim/fiber.cc src/hls/sim_memory.cc; do
    objects+=("$work/$(basename "$source").o")
    "$cxx" -std=c++20 "${flags[@]}" -Isrc -c "$source" -o "${objects[-1]}"
  done
  rm -f "$work/libcsim.a"
  ar rc "$work/libcsim.a" "${objects[@]}"
}

# A pass is exit 0, the test bench's own count, and more than one cycle: some failed runs of bambu end with exit 0.
run_bambu() {
  local stage=$1 folder=$work/$1.bambu log=$work/$1.log
  rm -rf "$folder"
  mkdir -p "$folder"
  (
    cd "$folder"
    bambu "$root/tools/bambu/$stage.cc" --top-fname="${stage}_stage" --generate-tb="$root/tools/bambu/${stage}_tb.cc" \
      -D__SYNTHESIS__ -I"$root/src" -I"$root/tools/bambu" -I"$root/$work" --compiler=I386_CLANG16 -m64 -O2 \
      --generate-interface=INFER --device-name=$device --clock-period=4 --simulate --max-sim-cycles=2000000
  ) >"$log" 2>&1 || die "$stage: bambu failed; $log"
  grep -q "^$stage: 0 of [1-9][0-9]* values differ" "$log" || die "$stage: the simulated Verilog gave other values; $log"
  cycles=$(sed -n 's/^ *Total cycles *: *\([0-9][0-9]*\).*/\1/p' "$log" | tail -n 1)
  [[ ${cycles:-0} -gt 1 ]] || die "$stage: the Verilog was not simulated; $log"
  echo "$stage: $cycles cycles in simulated Verilog, equal to ref/"
  if command -v yosys >/dev/null; then
    count_resources "$stage" "$folder"
  fi
}

count_resources() {
  local stage=$1 folder=$2
  yosys -q -p "read_verilog -sv $(find "$folder" -maxdepth 1 -name '*.v' -printf '%p ')
    synth_xilinx -family xcup -noiopad -flatten -top ${stage}_stage; tee -o $work/$stage.stat stat" >"$work/$stage.yosys.log" 2>&1 ||
    die "$stage: yosys failed; $work/$stage.yosys.log"
  awk -v stage="$stage" '/DSP48E2|RAMB18E2|RAMB36E2|URAM288/ { n[$1] += $2 } /FD[A-Z]E/ { n["FF"] += $2 } /LUT[1-6]/ { n["LUT"] += $2 }
    END { printf "%s:", stage; for (cell in n) printf " %s %d", cell, n[cell]; print "" }' "$work/$stage.stat"
}

main() {
  local stages=("$@") stage
  [[ $# -gt 0 ]] || stages=("${all_stages[@]}")
  for stage in "${stages[@]}"; do
    [[ " ${all_stages[*]} " == *" $stage "* ]] || die "no stage \"$stage\"; there are: ${all_stages[*]}"
  done
  mkdir -p "$work"
  make_values
  make_csim
  for stage in "${stages[@]}"; do
    run_as_c "$stage"
  done
  if ! command -v bambu >/dev/null; then
    echo "bambu is not on PATH: nothing was synthesized"
    return
  fi
  for stage in "${stages[@]}"; do
    run_bambu "$stage"
  done
}

main "$@"
