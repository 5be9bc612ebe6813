#pragma once

// Makes .xclbin files for the emulated card, without Vitis: the container and the sections that XRT reads, from what
// v++ --link is told. Where a real one holds the bitstream, this one holds the library of kernels.

#include <span>
#include <string>
#include <string_view>

#include "backend/fpga/link_file.h"
#include "common/status.h"

namespace phidias::emu {

// The file's bytes; the same for the same input. Errors: what LintLinkFile finds, and streams between units, which the
// emulated card doesn't have.
Result<std::string> MakeXclbin(const fpga::LinkFile& link, std::span<const fpga::KernelSignature> kernels,
                               std::string_view kernel_library);

}  // namespace phidias::emu
