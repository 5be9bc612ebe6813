// The card's compute units: packets in, kernels run, states out; and the order that the host owes them.

#include <ert.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>

#include "common/str.h"
#include "emu/card/card.h"

namespace phidias::emu {
namespace {

// The state lies in the packet's first four bits, where XRT polls it.
void SetState(void* packet, unsigned state) {
  auto* const header = static_cast<uint32_t*>(packet);
  const uint32_t value = (__atomic_load_n(header, __ATOMIC_RELAXED) & ~0xFU) | state;
  __atomic_store_n(header, value, __ATOMIC_RELEASE);
}

}  // namespace

void Card::Complete(void* packet, unsigned state) {
  SetState(packet, state);
  ++completions_;
  done_.notify_all();
}

int Card::WaitForCompletion(int milliseconds) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!done_.wait_for(lock, std::chrono::milliseconds(milliseconds), [this] { return completions_ > 0; })) {
    return 0;
  }
  --completions_;
  return 1;
}

int Card::Execute(unsigned handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Buffer* const buffer = Lookup(handle);
  if (buffer == nullptr || buffer->host == nullptr) {
    return -EINVAL;
  }
  auto* const packet = reinterpret_cast<ert_packet*>(buffer->host);
  switch (packet->opcode) {
    case ERT_START_CU: return Start(handle, reinterpret_cast<ert_start_kernel_cmd*>(packet));
    case ERT_START_COPYBO: return StartCopy(reinterpret_cast<ert_start_copybo_cmd*>(packet));
    case ERT_ABORT: return Abort(reinterpret_cast<ert_abort_cmd*>(packet));
    default: Warn(StrCat("ERT opcode ", packet->opcode, " is not modelled")); return -ENOSYS;
  }
}

// A copy inside the card.
int Card::StartCopy(ert_start_copybo_cmd* packet) {
  const Buffer* const to = Lookup(packet->dst_bo_hdl);
  const Buffer* const from = Lookup(packet->src_bo_hdl);
  const uint64_t size = ert_copybo_size(packet);
  const uint64_t to_offset = ert_copybo_dst_offset(packet);
  const uint64_t from_offset = ert_copybo_src_offset(packet);
  if (to == nullptr || from == nullptr || to_offset + size > to->device_bytes ||
      from_offset + size > from->device_bytes) {
    return -EINVAL;
  }
  CheckCopy(*to, *from, size);
  std::memmove(memory_.Direct(to->address) + to_offset, memory_.Direct(from->address) + from_offset, size);
  memory_.Find(to->address)->initialised = true;
  Complete(packet, ERT_CMD_STATE_COMPLETED);
  return 0;
}

// Takes a queued run back, or ends one that hangs. A kernel at work can't be stopped: it ends by itself.
int Card::Abort(ert_abort_cmd* packet) {
  for (const auto& unit : units_) {
    const auto queued = std::find_if(unit->queue.begin(), unit->queue.end(),
                                     [&](const Job& job) { return job.handle == packet->exec_bo_handle; });
    if (queued != unit->queue.end()) {
      ert_start_kernel_cmd* const aborted = queued->packet;
      unit->queue.erase(queued);
      Complete(aborted, ERT_CMD_STATE_ABORT);
    } else if (unit->running && unit->running->handle == packet->exec_bo_handle) {
      unit->abort_running = true;
      if (HasStreams(unit->image)) {
        StopSystem();
      }
      work_.notify_all();
    }
  }
  Complete(packet, ERT_CMD_STATE_COMPLETED);
  return 0;
}

// Of the units in the packet's mask, the one that got the fewest commands so far, as the driver's scheduler has it.
Card::Unit* Card::ChooseUnit(const ert_start_kernel_cmd& packet) {
  Unit* best = nullptr;
  for (size_t i = 0; i < units_.size(); ++i) {
    const size_t word = i / 32;
    const uint32_t mask = word == 0 ? packet.cu_mask : word <= packet.extra_cu_masks ? packet.data[word - 1] : 0;
    if ((mask >> (i % 32) & 1) != 0 && (best == nullptr || units_[i]->submitted < best->submitted)) {
      best = units_[i].get();
    }
  }
  return best;
}

int Card::Start(unsigned handle, ert_start_kernel_cmd* packet) {
  Unit* const unit = ChooseUnit(*packet);
  const unsigned extra = packet->extra_cu_masks;
  if (unit == nullptr || packet->count < 1 + extra) {
    return -EINVAL;
  }
  SetState(packet, ERT_CMD_STATE_QUEUED);
  Job job{handle, packet, packet->data + extra, packet->count - 1 - extra, {}};
  job.accesses = AccessesOf(*unit, job);
  CheckHazards(*unit, job);
  ++unit->submitted;
  unit->queue.push_back(std::move(job));
  work_.notify_all();
  return 0;
}

// What a run may touch, from its registers.
std::vector<Access> Card::AccessesOf(const Unit& unit, const Job& job) {
  std::vector<Access> accesses;
  for (const Argument& argument : unit.image.arguments) {
    if (!argument.is_memory || argument.offset / 4 + 2 > job.words) {
      continue;
    }
    uint64_t address = 0;
    std::memcpy(&address, job.registers + argument.offset / 4, sizeof address);
    uint64_t first = 0;
    if (const DeviceMemory::Allocation* const allocation = memory_.Find(address, &first)) {
      accesses.push_back({address, first + allocation->size, argument.writes});
    }
  }
  return accesses;
}

// A run submitted before the host has seen the end of one on another unit that it conflicts with: on a card the two
// run side by side. Runs on one unit are in order.
void Card::CheckHazards(const Unit& unit, const Job& job) {
  const auto conflict = [&](const Job& other) -> const Access* {
    for (const Access& mine : job.accesses) {
      for (const Access& its : other.accesses) {
        if ((mine.writes || its.writes) && mine.begin < its.end && its.begin < mine.end) {
          return mine.begin > its.begin ? &mine : &its;
        }
      }
    }
    return nullptr;
  };
  for (const auto& other : units_) {
    if (other.get() == &unit) {
      continue;
    }
    const Access* access = other->running ? conflict(*other->running) : nullptr;
    for (size_t i = 0; access == nullptr && i < other->queue.size(); ++i) {
      access = conflict(other->queue[i]);
    }
    if (access != nullptr) {
      violations_.Add(unit.image.unit() + " submitted while " + other->image.unit() + " still uses device memory " +
                      Hex(access->begin) + ", and one of them writes it: no wait between them");
    }
  }
}

void* Card::TranslateMemory(const Unit& unit, const Job& job, size_t index) {
  const Argument& argument = unit.image.arguments[index];
  uint64_t address = 0;
  std::memcpy(&address, job.registers + argument.offset / 4, sizeof address);
  char* const place = memory_.Translate(unit.views[index], address);
  DeviceMemory::Allocation* const buffer = memory_.Find(address);
  if (place == nullptr || buffer == nullptr) {
    violations_.Add(unit.image.unit() + "." + argument.name + ": device address " + Hex(address) +
                    (place == nullptr ? " is outside the banks this port is wired to" : " is in no live buffer") +
                    " (a card would hang or trip the AXI firewall)");
    return nullptr;
  }
  if (!argument.writes && !buffer->initialised) {
    violations_.Add(unit.image.unit() + "." + argument.name + ": reads the buffer at " + Hex(address) +
                    ", which nobody has written: no sync to the device?");
  }
  buffer->initialised |= argument.writes;
  return place;
}

Card::Call Card::Translate(const Unit& unit, const Job& job) {
  Call call;
  for (size_t i = 0; i < unit.image.arguments.size(); ++i) {
    const Argument& argument = unit.image.arguments[i];
    if (argument.is_stream) {
      call.values.push_back(nullptr);  // made when the units run together
      continue;
    }
    const uint32_t* const bytes = job.registers + argument.offset / 4;
    if (argument.offset / 4 + (argument.bytes + 3) / 4 > job.words) {
      violations_.Add(unit.image.unit() + "." + argument.name + ": not in the register map that was sent");
      call.values.push_back(nullptr);
    } else {
      call.values.push_back(argument.is_memory ? TranslateMemory(unit, job, i) : const_cast<uint32_t*>(bytes));
    }
    call.ok &= call.values.back() != nullptr;
  }
  return call;
}

void Card::CountOverlap(const Unit& unit, const Job& job) {
  for (const auto& other : units_) {
    if (other.get() == &unit || !other->running) {
      continue;
    }
    bool shares = false;
    for (const Access& mine : job.accesses) {
      for (const Access& its : other->running->accesses) {
        shares |= memory_.BankOf(mine.begin) == memory_.BankOf(its.begin);
      }
    }
    ++counts_.overlapping_starts;
    counts_.shared_bank_starts += shares ? 1 : 0;
  }
}

void Card::Loop(Unit* unit) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    work_.wait(lock, [&] { return stopping_ || !unit->queue.empty(); });
    if (unit->queue.empty()) {
      return;
    }
    unit->running = std::move(unit->queue.front());
    unit->queue.pop_front();
    ert_start_kernel_cmd* const packet = unit->running->packet;
    unsigned state = ERT_CMD_STATE_ABORT;
    if (!stopping_) {
      SetState(packet, ERT_CMD_STATE_RUNNING);
      CountOverlap(*unit, *unit->running);
      state = Run(unit, *unit->running, &lock);
    }
    unit->running.reset();
    unit->abort_running = false;
    Complete(packet, state);
  }
}

// Returns the packet's new state.
unsigned Card::Run(Unit* unit, const Job& job, std::unique_lock<std::mutex>* lock) {
  const std::string name = unit->image.unit();
  const Call call = Translate(*unit, job);
  if (Strikes(FaultKind::kHang, name)) {
    Warn(name + " hangs (a fault asked for)");
    work_.wait(*lock, [&] { return stopping_ || unit->abort_running; });
    unit->broken = true;
    return ERT_CMD_STATE_ABORT;
  }
  if (Strikes(FaultKind::kError, name)) {
    Warn(name + " fails (a fault asked for)");
    return ERT_CMD_STATE_ERROR;
  }
  if (unit->broken) {
    Warn(name + " was aborted in the middle of a run: the xclbin has to be loaded again");
    return ERT_CMD_STATE_ERROR;
  }
  return call.ok ? RunKernel(unit, call, lock) : static_cast<unsigned>(ERT_CMD_STATE_ERROR);
}

unsigned Card::RunKernel(Unit* unit, Call call, std::unique_lock<std::mutex>* lock) {
  UnitCount* count = nullptr;
  for (size_t i = 0; i < units_.size(); ++i) {
    count = units_[i].get() == unit ? &counts_.units[i] : count;
  }
  const auto moved = [&] {
    std::pair<uint64_t, uint64_t> sums;
    for (const PortCount& port : count->ports) {
      sums.first += port.read;
      sums.second += port.written;
    }
    return sums;
  };
  const auto before = moved();
  const uint64_t jitter = settings_.jitter_us > 0 ? unit->random() % settings_.jitter_us : 0;
  const uint64_t delay = settings_.launch_us + jitter;
  std::string error;
  lock->unlock();
  if (delay > 0) {
    std::this_thread::sleep_for(std::chrono::microseconds(delay));
  }
  const auto begin = Trace::Clock::now();
  try {
    if (HasStreams(unit->image)) {
      RunTogether(unit, call.values.data());
    } else {
      unit->image.run(call.values.data());
    }
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  const auto end = Trace::Clock::now();
  lock->lock();
  ++count->runs;
  count->busy_us += std::chrono::duration<double, std::micro>(end - begin).count();
  const auto after = moved();
  trace_.Add(count->name, unit->image.name, begin, end,
             StrCat("\"run\":", count->runs, ",\"read\":", after.first - before.first,
                    ",\"written\":", after.second - before.second));
  if (!error.empty()) {
    Warn(count->name + ": " + error);
    return ERT_CMD_STATE_ERROR;
  }
  return ERT_CMD_STATE_COMPLETED;
}

}  // namespace phidias::emu
