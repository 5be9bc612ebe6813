// The card's units that exchange streams. A unit that has registers is started by the host as any other; once all of
// them are, they and those that run by themselves become one system of the kernels' library, in the thread of the unit
// that came last. The others wait for its end.

#include <algorithm>
#include <exception>
#include <stdexcept>

#include "emu/card/card.h"

namespace phidias::emu {

bool Card::HasStreams(const UnitImage& unit) {
  return std::any_of(unit.arguments.begin(), unit.arguments.end(),
                     [](const Argument& argument) { return argument.is_stream; });
}

// Units that poll memory end; the others of the system then can't go on either. Under mutex_.
void Card::StopSystem() {
  __atomic_store_n(&system_.stop, true, __ATOMIC_RELEASE);
}

// Called without the lock, by the unit's thread. Throws what the system throws, for each of its units.
void Card::RunTogether(Unit* unit, void** values) {
  std::unique_lock<std::mutex> lock(mutex_);
  system_.calls[unit] = values;
  const auto wanted = std::count_if(units_.begin(), units_.end(), [](const auto& other) {
    return HasStreams(other->image) && !other->image.by_itself;
  });
  if (std::ssize(system_.calls) == wanted) {
    const std::map<const Unit*, void**> calls = std::move(system_.calls);
    system_.calls.clear();
    lock.unlock();
    std::string error = RunSystem(calls);
    lock.lock();
    system_.error = std::move(error);
    ++system_.ended;
    work_.notify_all();
  } else {
    const uint64_t before = system_.ended;
    work_.wait(lock, [&] { return system_.ended != before || stopping_ || unit->abort_running; });
    if (system_.ended == before && system_.calls.erase(unit) > 0) {
      throw std::runtime_error("ended before the other units with streams had been started");
    }
    work_.wait(lock, [&] { return system_.ended != before; });
  }
  if (!system_.error.empty()) {
    throw std::runtime_error(system_.error);
  }
}

// What went wrong, or nothing.
std::string Card::RunSystem(const std::map<const Unit*, void**>& calls) {
  std::vector<EmuSystemUnit> units;
  std::vector<std::string> names(units_.size());
  std::vector<std::vector<void*>> own(units_.size());  // arguments of those that run by themselves
  std::vector<int> place(units_.size(), -1);           // by unit
  for (size_t i = 0; i < units_.size(); ++i) {
    const Unit* const unit = units_[i].get();
    if (!HasStreams(unit->image)) {
      continue;
    }
    const auto call = calls.find(unit);
    own[i].resize(unit->image.arguments.size());
    names[i] = unit->image.unit();
    place[i] = static_cast<int>(units.size());
    units.push_back({names[i].c_str(), unit->image.kernel, call != calls.end() ? call->second : own[i].data()});
  }
  std::vector<EmuSystemStream> streams;
  for (const StreamImage& stream : system_.streams) {
    streams.push_back({stream.name.c_str(), place[stream.from_unit], stream.from_argument, place[stream.to_unit],
                       stream.to_argument, stream.depth});
  }
  const EmuSystem system = {units.data(), static_cast<int>(units.size()), streams.data(),
                            static_cast<int>(streams.size()), &system_.stop};
  try {
    system_.run(&system);
  } catch (const std::exception& exception) {
    return exception.what();
  }
  return "";
}

}  // namespace phidias::emu
