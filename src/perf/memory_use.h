#pragma once

#include <cstdint>
#include <string_view>

namespace phidias {

// What this process holds, in bytes, by Linux's account. Zero where the system doesn't tell.
struct MemoryUse {
  int64_t resident = 0;       // now
  int64_t resident_peak = 0;  // the most since the start or the last ResetMemoryPeak
  int64_t resident_file = 0;  // of `resident`: pages of mapped files, which the system can take back
  int64_t huge_pages = 0;     // anonymous memory in huge pages
};
MemoryUse ReadMemoryUse();

// The field "NAME:   123 kB" of a /proc text, in bytes; 0 if it isn't there.
int64_t ProcField(std::string_view text, std::string_view name);

// Lets the peak begin anew. False: the system doesn't allow it, the peak stays that of the whole process.
bool ResetMemoryPeak();

}  // namespace phidias
