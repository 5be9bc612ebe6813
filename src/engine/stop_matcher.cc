#include "engine/stop_matcher.h"

#include <algorithm>
#include <utility>

namespace phidias {

StopMatcher::StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase(stops_, std::string());
}

// Bytes at the end of `pending_` that begin some stop string. What is held back is always shorter than the longest stop
// string, so `pending_` stays short.
size_t StopMatcher::HeldBack() const {
  size_t held = 0;
  for (const std::string& stop : stops_) {
    for (size_t length = std::min(stop.size() - 1, pending_.size()); length > held; --length) {
      if (std::string_view(pending_).ends_with(std::string_view(stop).substr(0, length))) {
        held = length;
        break;
      }
    }
  }
  return held;
}

std::string StopMatcher::Push(std::string_view text) {
  if (stopped_) {
    return {};
  }
  pending_ += text;
  size_t first = std::string::npos;
  for (const std::string& stop : stops_) {
    first = std::min(first, pending_.find(stop));
  }
  stopped_ = first != std::string::npos;
  const size_t shown = stopped_ ? first : pending_.size() - HeldBack();
  std::string out = pending_.substr(0, shown);
  pending_.erase(0, stopped_ ? std::string::npos : shown);
  return out;
}

std::string StopMatcher::Finish() {
  return std::exchange(pending_, {});
}

}  // namespace phidias
