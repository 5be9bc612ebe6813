#include "emu/kernel_export.h"
#include "emu/testing/sample_kernels.h"

EMU_KERNEL(vadd)
EMU_KERNEL(vscale)
EMU_KERNEL(vpeek)
EMU_KERNEL(vstall)
