#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backend/cpu/cpu_options.h"
#include "common/mapped_file.h"
#include "common/status.h"

namespace phidias {

// How weights get into memory.
enum class WeightLoad : uint8_t {
  kAuto,  // measured: copied where that reads faster than the file and fits, else used in the file
  kMmap,  // used where they lie in the mapped file: the fastest start, nothing of one's own to hold
  kCopy,  // copied into huge pages, int8 packed for the products, and the file's pages given back
};

struct WeightLoadChoice {
  WeightPlace place = WeightPlace::kInFile;
  // For the user: what was taken and why. Empty where there is nothing to say (small models).
  std::string note = {};
};

// Decides for the model in `files`. `available`: bytes of memory (AvailableMemory), none: unknown. `has_int4`: some
// weights have 4 bits, which products pack anew for every token where they stay in the file.
// Errors: a copy that was asked for and doesn't fit.
Result<WeightLoadChoice> ChooseWeightPlace(WeightLoad wanted, std::span<const std::shared_ptr<const MappedFile>> files,
                                           std::optional<uint64_t> available, bool has_int4 = false);

}  // namespace phidias
