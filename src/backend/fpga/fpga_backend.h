#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/cpu/cpu_options.h"
#include "backend/fpga/card_device.h"
#include "backend/fpga/card_weights.h"
#include "backend/fpga/schedule.h"
#include "common/status.h"

namespace phidias::fpga {

struct CardOptions {
  std::string design = "report";
  ScheduleOrder order = ScheduleOrder::kParallel;
  HostOps host_ops = {};
  CpuOptions cpu = {};                                  // of the host's part
  std::string packed = {};                              // the packed model; "": made once, in the cache
  std::chrono::milliseconds timeout{60000};             // without any run ending
  const std::atomic<bool>* cancel = nullptr;            // looked at while a token is computed, and while packing
  std::function<void(const std::string&)> notice = {};  // what the user should know: a line without its end
};

// Makes the card that a placement is for, xclbin loaded.
using OpenCard = std::function<Result<std::unique_ptr<CardDevice>>(const HbmPlacement& placement)>;

// What was done on a card so far.
struct CardUse {
  std::map<std::string, int64_t> runs;  // per unit
  int64_t weight_bytes = 0;             // that a token with logits reads from HBM at least
  int64_t generated = 0;                // tokens that the card chose by itself
  std::string packed = {};              // path of the packed model
  std::string fallback;                 // why the CPU took over; "" if it didn't
};

class CardBackend : public Backend {
 public:
  virtual CardUse Use() const = 0;
  // The first error of the card, which every later step gives again.
  virtual Status CardStatus() const = 0;
};

// The `float` arithmetic on a card (docs/fpga.md), one token at a time: operators are recorded, and executed as a
// Schedule per token at EndStep, or when an activation is read. Weights that the design can't run are an error of
// FinishLoading, which names the tensor and the way out; so is everything that is wrong with card or packed model.
Result<std::unique_ptr<CardBackend>> CreateFpgaBackend(const ModelShape& shape, const CardOptions& options,
                                                       OpenCard open_card);

}  // namespace phidias::fpga
