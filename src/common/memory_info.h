#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace phidias {

// Bytes that this process can still take without swapping or being killed: the kernel's MemAvailable, or what its
// control group (v2, or v1's memory controller) has left, whichever is less. Page cache counts as available. None where
// the system doesn't say. `root` stands before every path read ("" for the real system).
std::optional<uint64_t> AvailableMemory(const std::string& root = "");

}  // namespace phidias
