#pragma once

#include <ap_int.h>

// A small stand-in for Vitis's ap_axi_sdata.h: a beat of an AXI stream without user, id and destination signals, as the
// kernels use it. Never on Vitis's include path.
template <int kData, int kUser, int kId, int kDest>
struct ap_axiu {  // NOLINT(readability-identifier-naming): Vitis's name
  static_assert(kUser == 0 && kId == 0 && kDest == 0, "this stand-in has no side channels");
  ap_uint<kData> data;
#ifdef __SYNTHESIS__                      // of no use to the C simulation
  ap_uint<(kData / 8 + 7) / 8 * 8> keep;  // a bit a byte, filled up to whole bytes
  bool last;
#endif
};
