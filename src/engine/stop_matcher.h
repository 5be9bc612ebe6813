#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace phidias {

// Looks for stop strings in text that arrives in pieces. Text that could still become a stop string is held back.
class StopMatcher {
 public:
  // Empty strings in `stops` are ignored.
  explicit StopMatcher(std::vector<std::string> stops);

  // The text that may be shown now. After a stop string was found (stopped()), nothing more comes out: it and what
  // follows are dropped.
  std::string Push(std::string_view text);
  // The text held back, when no more is to come.
  std::string Finish();
  bool stopped() const { return stopped_; }

 private:
  size_t HeldBack() const;

  std::vector<std::string> stops_;
  std::string pending_;
  bool stopped_ = false;
};

}  // namespace phidias
