#pragma once

// A checkpoint on a CPU back end, and what to ask it.

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "engine/loaded_model.h"
#include "tests/support/logits.h"

namespace phidias::testing_support {

inline std::unique_ptr<Phi> MakePhi(const std::shared_ptr<const Checkpoint>& checkpoint, Arithmetic arithmetic,
                                    const CpuOptions& cpu = {}) {
  auto backend = CreateBackend(*checkpoint, cpu, arithmetic);
  EXPECT_TRUE(backend.ok()) << backend.status().message();
  auto phi = Phi::Create(checkpoint, *std::move(backend));
  EXPECT_TRUE(phi.ok()) << phi.status().message();
  return *std::move(phi);
}

// Some English of the demo model's tokenizer.
inline const std::vector<int32_t>& Ids() {
  static const std::vector<int32_t> kIds = {393,  26,  1855, 396, 259,  964, 487, 259, 451, 934,  274, 259, 1111, 1255,
                                            14,   199, 394,  26,  1488, 660, 259, 511, 12,  454,  308, 259, 451,  747,
                                            1117, 961, 14,   566, 1198, 277, 575, 347, 349, 1255, 274, 900, 884,  262};
  return kIds;
}

}  // namespace phidias::testing_support
