// The kernels of the design `report` for the emulated card: libphidias_kernels.so is this file and hls/ alone.

#include "emu/kernel_export.h"
#include "hls/kernels.h"

EMU_KERNEL(linear_s8_b1w8)
EMU_KERNEL(linear_s8_b4w8)
EMU_KERNEL(linear_s8_b1w512)
EMU_KERNEL(linear_s8_b4w512)
EMU_KERNEL(lm_head_f16)
EMU_KERNEL(lm_head_bf16)
EMU_KERNEL(lm_head_f32)
EMU_KERNEL(attention)
EMU_KERNEL(attention_by_column)
EMU_KERNEL(layernorm)
EMU_KERNEL(gelu)
EMU_KERNEL(residual)
