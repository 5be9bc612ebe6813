#pragma once

// Small kernels in the manner of HLS, to try the card with.

#include <cstdint>

extern "C" {

// NOLINTBEGIN(readability-identifier-naming): names as link files have them
// out[i] = a[i] + b[i]
void vadd(const int32_t* a, const int32_t* b, int32_t* out, int32_t n);
// out[i] = factor * in[i]
void vscale(const int32_t* in, int32_t* out, int32_t factor, int32_t n);
// Reads one element at `index`, wherever that is, into out[0].
void vpeek(const int32_t* in, int32_t* out, int64_t index);
// Throws, as a kernel whose dataflow stalls does in C simulation.
void vstall(int32_t* out);
// NOLINTEND(readability-identifier-naming)

}  // extern "C"
