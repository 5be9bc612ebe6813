#pragma once

#include "backend/fpga/schedule_recorder.h"
#include "common/status.h"
#include "model/config.h"

namespace phidias {

// What a card with this order and these host operators runs for one token (with logits) of a model of this
// configuration: the model's own forward pass, recorded. Needs no weights.
Result<fpga::TokenSchedule> RecordTokenSchedule(const PhiConfig& config, fpga::ScheduleOrder order,
                                                fpga::HostOps host_ops);

}  // namespace phidias
