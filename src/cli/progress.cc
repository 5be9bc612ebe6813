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
constexpr const char* kEraseLine = "\r\x1b[K";

std::string Padded(int64_t number, const char* format) {
  char text[32];
  std::snprintf(text, sizeof text, format, static_cast<long long>(number));
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
  const double share = total > 0 ? std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0) : 0.0;
  const auto filled = static_cast<size_t>(share * kBarWidth);
  std::string text = label + " [" + std::string(filled, '#') + std::string(kBarWidth - filled, '.') + "] " +
                     Padded(static_cast<int64_t>(share * 100), "%3lld") + StrCat(" % of ", total, " ", unit);
  if (seconds >= 1 && done > 0) {
    const double rate = static_cast<double>(done) / seconds;
    char shown[32];
    std::snprintf(shown, sizeof shown, rate < 10 ? "%.2f" : "%.0f", rate);
    text += StrCat(", ", shown, " ", unit, "/s, ", DurationText(static_cast<double>(total - done) / rate), " left");
  }
  return text;
}

bool StderrIsTerminal() {
  return isatty(STDERR_FILENO) == 1;
}

ProgressBar::ProgressBar(std::string label, std::string unit, bool shown)
    : label_(std::move(label)), unit_(std::move(unit)), shown_(shown && StderrIsTerminal()), start_(Clock::now()) {}

ProgressBar::~ProgressBar() {
  Clear();
}

void ProgressBar::SetLabel(std::string label) {
  label_ = std::move(label);
  start_ = Clock::now();
  last_done_ = 0;
}

void ProgressBar::Update(int64_t done, int64_t total) {
  const auto now = Clock::now();
  if (!shown_ || (now - last_ < kBetweenDrawings && done < total)) {
    return;
  }
  if (done < last_done_) {  // a new count under the same label
    start_ = now;
  }
  last_ = now;
  last_done_ = done;
  drawn_ = true;
  const double seconds = std::chrono::duration<double>(now - start_).count();
  WriteStderr(kEraseLine + ProgressText(label_, unit_, done, total, seconds));
}

void ProgressBar::Clear() {
  if (drawn_) {
    WriteStderr(kEraseLine);
    drawn_ = false;
  }
}

}  // namespace phidias::cli
