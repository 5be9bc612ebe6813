#pragma once

#include <string>

#include "backend/fpga/card_weights.h"
#include "backend/fpga/packed_writer.h"
#include "backend/fpga/placement.h"
#include "common/status.h"
#include "common/thread_pool.h"

namespace phidias::fpga {

// What the packed file of weights that CheckWeights has passed begins with.
PackedHeader HeaderOf(const CardWeights& weights, const HbmPlacement& placement);

// Writes the packed model (packed_file.h) of weights that CheckWeights has passed. The same weights and design give the
// same bytes, on any machine and with any number of threads. The file appears when it is complete.
Status PackModel(const CardWeights& weights, const HbmPlacement& placement, const std::string& path, ThreadPool* pool,
                 const PackOptions& options = {});

}  // namespace phidias::fpga
