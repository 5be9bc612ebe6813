#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "backend/fpga/card_weights.h"
#include "backend/fpga/packed_file.h"
#include "backend/fpga/placement.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::fpga {

struct PackOptions {
  const std::atomic<bool>* cancel = nullptr;
  // Bytes done, bytes in all; from the calling thread.
  std::function<void(int64_t done, int64_t total)> progress;
};

// Writes the packed model (packed_file.h) of weights that CheckWeights has passed. The same weights and design give the
// same bytes, on any machine and with any number of threads. The file appears when it is complete.
Status PackModel(const CardWeights& weights, const HbmPlacement& placement, const std::string& path, ThreadPool* pool,
                 const PackOptions& options = {});

}  // namespace phidias::fpga
