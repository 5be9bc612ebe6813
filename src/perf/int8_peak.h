#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/thread_pool.h"

namespace phidias {

// The most int8 multiplications with int32 accumulation that the processor does with an instruction set: independent
// accumulators in registers, nothing from memory. One file per set, compiled for it.
struct Int8Peak {
  const char* name;  // "avx512vnni"
  const char* isa;   // --isa's name for the set of kernels that uses it: "avx512"
  bool (*supported)();
  // Does `rounds` rounds and returns the multiplications; `sink` takes a value that depends on all of them.
  int64_t (*run)(int64_t rounds, uint32_t* sink);
};

// All that were compiled for this kind of processor, the fastest first. The last, "portable", always runs.
std::span<const Int8Peak* const> AllInt8Peaks();

// The fastest supported one for --isa's name; "portable" for names without one ("reference").
const Int8Peak& Int8PeakFor(std::string_view isa);

extern const Int8Peak kInt8PeakAvx512Vnni;
extern const Int8Peak kInt8PeakAvxVnni;
extern const Int8Peak kInt8PeakAvx2;
extern const Int8Peak kInt8PeakPortable;

// Operations (a multiplication and an addition are two) per second of all threads together, in 10^9.
class Int8PeakMeter {
 public:
  Int8PeakMeter(const Int8Peak& peak, int threads);
  // Takes about `seconds`.
  double Measure(double seconds = 0.05);

 private:
  const Int8Peak& peak_;
  std::unique_ptr<ThreadPool> pool_;
  double rounds_per_second_ = 0;  // of one thread, from a first short run
};

}  // namespace phidias
