#pragma once

// Pragmas and dataflow regions for three readers of the kernels: Vitis HLS (__SYNTHESIS__), the open compiler Bambu
// (__BAMBU__, arithmetic stages alone), and a C++ compiler (the C simulation).
//
// Interfaces and `dataflow` are written out as #pragma HLS. What stands here is what Bambu 2024.10 refuses or ignores:
// `pipeline` of a loop is an error for it, `array_partition` has no effect, and it wants `unroll` before the loop.

#define PHIDIAS_PRAGMA(...) _Pragma(#__VA_ARGS__)

#if defined(__BAMBU__)
#define PHIDIAS_PIPELINE(interval)
#define PHIDIAS_UNROLL
#define PHIDIAS_UNROLL_BEFORE PHIDIAS_PRAGMA(HLS unroll)
#define PHIDIAS_PARTITION(array)
#define PHIDIAS_PARTITION_CYCLIC(array, parts)
#define PHIDIAS_PARTITION_ROWS(array)
#define PHIDIAS_PARTITION_LANES(array)
#define PHIDIAS_PARTITION_COLUMNS(array, parts)
#define PHIDIAS_DISTANCE(array, iterations)
#define PHIDIAS_STORAGE(array, kind, memory)
#define PHIDIAS_PRODUCT_IN_LOGIC(variable)
#define PHIDIAS_SIM_UNROLL
#elif defined(__SYNTHESIS__)
// One iteration begins every `interval` cycles.
#define PHIDIAS_PIPELINE(interval) PHIDIAS_PRAGMA(HLS pipeline II = interval)
#define PHIDIAS_UNROLL PHIDIAS_PRAGMA(HLS unroll)  // within the loop
#define PHIDIAS_UNROLL_BEFORE                      // before the loop
#define PHIDIAS_PARTITION(array) PHIDIAS_PRAGMA(HLS array_partition variable = array complete dim = 0)
#define PHIDIAS_PARTITION_CYCLIC(array, parts) \
  PHIDIAS_PRAGMA(HLS array_partition variable = array cyclic factor = parts)
// A memory of its own for each index of the first, or of the second dimension.
#define PHIDIAS_PARTITION_ROWS(array) PHIDIAS_PRAGMA(HLS array_partition variable = array complete dim = 1)
#define PHIDIAS_PARTITION_LANES(array) PHIDIAS_PRAGMA(HLS array_partition variable = array complete dim = 2)
// `parts` memories, element i of every row in memory i % parts.
#define PHIDIAS_PARTITION_COLUMNS(array, parts) \
  PHIDIAS_PRAGMA(HLS array_partition variable = array cyclic factor = parts dim = 2)
// What an iteration of the pipelined loop reads from the array was written `iterations` before, not later.
#define PHIDIAS_DISTANCE(array, iterations) \
  PHIDIAS_PRAGMA(HLS dependence variable = array type = inter direction = RAW distance = iterations dependent = true)
// Which memory an array (ram_2p: a port to write and one to read; ram_t2p: two that do either) or a stream (fifo) lies
// in.
#define PHIDIAS_STORAGE(array, kind, memory) PHIDIAS_PRAGMA(HLS bind_storage variable = array type = kind impl = memory)
// The product that the variable gets takes LUTs, no DSP.
#define PHIDIAS_PRODUCT_IN_LOGIC(variable) PHIDIAS_PRAGMA(HLS bind_op variable = variable op = mul impl = fabric)
#define PHIDIAS_SIM_UNROLL
#else
#define PHIDIAS_PIPELINE(interval)
#define PHIDIAS_UNROLL
#define PHIDIAS_UNROLL_BEFORE
#define PHIDIAS_PARTITION(array)
#define PHIDIAS_PARTITION_CYCLIC(array, parts)
#define PHIDIAS_PARTITION_ROWS(array)
#define PHIDIAS_PARTITION_LANES(array)
#define PHIDIAS_PARTITION_COLUMNS(array, parts)
#define PHIDIAS_DISTANCE(array, iterations)
#define PHIDIAS_STORAGE(array, kind, memory)
#define PHIDIAS_PRODUCT_IN_LOGIC(variable)
// Before a loop: speed of the C simulation alone.
#define PHIDIAS_SIM_UNROLL PHIDIAS_PRAGMA(GCC unroll 64)
#endif

// A kernel's top begins with PHIDIAS_TOP("its name"). A dataflow region has PHIDIAS_DATAFLOW right after #pragma HLS
// dataflow, then streams, then one PHIDIAS_STAGE per stage, then PHIDIAS_RUN. For a synthesizer that leaves
// declarations and calls, the canonical form; in the C simulation every stage becomes a thread of control of its own.
// A loop that polls memory has PHIDIAS_POLL in it.
#if defined(__SYNTHESIS__) || defined(__BAMBU__)
#define PHIDIAS_TOP(name)
#define PHIDIAS_DATAFLOW
#define PHIDIAS_STAGE(...) __VA_ARGS__
#define PHIDIAS_RUN
#define PHIDIAS_POLL
#else
#include "hls/csim/dataflow.h"
#define PHIDIAS_JOIN2(a, b) a##b
#define PHIDIAS_JOIN(a, b) PHIDIAS_JOIN2(a, b)
#define PHIDIAS_TOP(name) ::phidias::hls::csim::NameKernel(name)
#define PHIDIAS_DATAFLOW ::phidias::hls::csim::Region dataflow_region
#define PHIDIAS_STAGE(...)                                          \
  const auto PHIDIAS_JOIN(stage_, __LINE__) = [&] { __VA_ARGS__; }; \
  dataflow_region.AddStage(#__VA_ARGS__, PHIDIAS_JOIN(stage_, __LINE__))
#define PHIDIAS_RUN dataflow_region.Run()
#define PHIDIAS_POLL ::phidias::hls::csim::YieldToOthers()
#endif
