#include "cli/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "cli/output.h"
#include "common/str.h"

namespace phidias::cli {
namespace {

constexpr int kBarWidth = 24;
constexpr auto kBetweenDrawings = std::chrono::milliseconds(100);
constexpr auto kBetweenLines = std::chrono::minutes(1);
constexpr const char* kEraseLine = "\r\x1b[K";

std::string Padded(int64_t number, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, static_cast<long long>(number));
  return text;
}

double Share(int64_t done, int64_t total) {
  return total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0.0;
}

// " % of 126410 tokens, 4210 tokens/s, 14 s left".
std::string OfTotal(const std::string& unit, int64_t done, int64_t total, double seconds) {
  std::string text = StrCat(" % of ", total, " ", unit);
  if (seconds >= 1 && done > 0) {
    const double rate = static_cast<double>(done) / seconds;
    char shown[32];
    std::snprintf(shown, sizeof shown, rate < 10 ? "%.2f" : "%.0f", rate);
    text += StrCat(", ", shown, " ", unit, "/s, ", DurationText(static_cast<double>(total - done) / rate), " left");
  }
  return text;
}

}  // namespace

std::string DurationText(double seconds) {
  const auto whole = static_cast<int64_t>(std::ceil(std::clamp(seconds, 0.0, 1e9)));
  if (whole < 60) {
    return StrCat(whole, " s");
  }
  if (whole < 3600) {
    return StrCat(whole / 60, " min ", Padded(whole % 60, "%02lld"), " s");
  }
  return StrCat(whole / 3600, " h ", Padded(whole / 60 % 60, "%02lld"), " min");
}

std::string ProgressText(const std::string& label, const std::string& unit, int64_t done, int64_t total,
                         double seconds) {
  const double share = Share(done, total);
  const auto filled = static_cast<size_t>(share * kBarWidth);
  return label + " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
         Padded(static_cast<int64_t>(share * 100), "%3lld") + OfTotal(unit, done, total, seconds);
}

std::string ProgressLine(const std::string& label, const std::string& unit, int64_t done, int64_t total,
                         double seconds) {
  return StrCat(label, ": ", static_cast<int64_t>(Share(done, total) * 100), OfTotal(unit, done, total, seconds));
}

bool StderrIsTerminal() {
  return isatty(STDERR_FILENO) == 1;
}

ProgressBar::ProgressBar(std::string label, std::string unit, bool shown)
    : label_(std::move(label)),
      unit_(std::move(unit)),
      shown_(shown),
      terminal_(StderrIsTerminal()),
      start_(Clock::now()),
      last_(terminal_ ? Clock::time_point() : start_) {}

ProgressBar::~ProgressBar() {
  Clear();
}

void ProgressBar::SetLabel(std::string label) {
  label_ = std::move(label);
  start_ = Clock::now();
  last_done_ = 0;
}

void ProgressBar::UpdateAt(int64_t done, int64_t total, Clock::time_point now) {
  const bool too_soon = terminal_ ? now - last_ < kBetweenDrawings && done < total : now - last_ < kBetweenLines;
  if (!shown_ || too_soon) {
    return;
  }
  if (done < last_done_) {  // a new count under the same label
    start_ = now;
  }
  last_ = now;
  last_done_ = done;
  drawn_ = terminal_;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  WriteStderr(terminal_ ? kEraseLine + ProgressText(label_, unit_, done, total, seconds)
                        : ProgressLine(label_, unit_, done, total, seconds) + "\n");
}

void ProgressBar::Clear() {
  if (drawn_) {
    WriteStderr(kEraseLine);
    drawn_ = false;
  }
}

}  // namespace phidias::cli
