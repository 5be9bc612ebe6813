#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace phidias::cli {

// One line on stderr that is drawn again and again: what is being done, a bar, how much of it, the rate and the time
// left. Where stderr is no terminal (a log): a line a minute, without a bar.
class ProgressBar {
 public:
  // `unit` is what is counted: "tokens", "rows". `shown` false: draw nothing whatever stderr is.
  ProgressBar(std::string label, std::string unit, bool shown = true);
  ~ProgressBar();  // takes the line away
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  using Clock = std::chrono::steady_clock;

  // Draws at most ten times a second, in a log once a minute.
  void Update(int64_t done, int64_t total) { UpdateAt(done, total, Clock::now()); }
  void UpdateAt(int64_t done, int64_t total, Clock::time_point now);
  void SetLabel(std::string label);
  void Clear();

 private:
  std::string label_;
  std::string unit_;
  bool shown_;
  bool terminal_;
  bool drawn_ = false;  // and not taken away yet
  Clock::time_point start_;
  Clock::time_point last_;
  int64_t last_done_ = 0;
};

// "perplexity [#####.....]  52 % of 126410 tokens, 4210 tokens/s, 14 s left"; no rate and no time before one second.
std::string ProgressText(const std::string& label, const std::string& unit, int64_t done, int64_t total,
                         double seconds);

// The same for a log: "perplexity: 52 % of 126410 tokens, 4210 tokens/s, 14 s left".
std::string ProgressLine(const std::string& label, const std::string& unit, int64_t done, int64_t total,
                         double seconds);

// "14 s", "3 min 05 s", "2 h 10 min".
std::string DurationText(double seconds);

bool StderrIsTerminal();

}  // namespace phidias::cli
