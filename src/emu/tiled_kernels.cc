// The kernels of the design `tiled` for the emulated card: libphidias_tiled_kernels.so is this file and hls/ alone.

#include "hls/tiled_kernels.h"

#include "emu/stream_export.h"

EMU_KERNEL(tiled_sequencer)
EMU_KERNEL(tiled_core)
EMU_KERNEL(tiled_memory)
EMU_KERNEL(tiled_tile)
EMU_SYSTEM
