#include "engine/token_schedule.h"

#include <memory>
#include <utility>

#include "model/phi.h"

namespace phidias {

Result<fpga::TokenSchedule> RecordTokenSchedule(const PhiConfig& config, fpga::ScheduleOrder order,
                                                fpga::HostOps host_ops) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->config = config;
  checkpoint->weights.layers.resize(static_cast<size_t>(config.n_layers));
  auto backend = std::make_unique<fpga::RecordingBackend>(order, host_ops);
  const fpga::RecordingBackend& recorded = *backend;
  ASSIGN_OR_RETURN(const std::unique_ptr<Phi> phi, Phi::Create(std::move(checkpoint), std::move(backend)));
  const StepRow row{.token = 0, .pos = 0, .kv = nullptr, .wants_logits = true};
  RETURN_IF_ERROR(phi->Step(std::span(&row, 1)).status());
  return fpga::TokenSchedule{recorded.schedule(), recorded.cols(), recorded.embedded()};
}

}  // namespace phidias
