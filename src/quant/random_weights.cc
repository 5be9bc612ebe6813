#include "quant/random_weights.h"

#include "numerics/elementary.h"

namespace phidias {

// The density summed from the far tail to the middle gives the lower half; the other is its mirror image. The density
// is the contract's own exp, because libraries' differ in the last bit.
std::vector<float> NormalQuantiles() {
  constexpr int64_t kSteps = int64_t{1} << 18;
  constexpr double kFar = 6.0;
  const auto density = [](int64_t step) {
    const double x = kFar - kFar * (static_cast<double>(step) + 0.5) / static_cast<double>(kSteps);
    return static_cast<double>(numerics::Exp(static_cast<float>(-0.5 * x * x)));
  };
  double half = 0;
  for (int64_t step = 0; step < kSteps; ++step) {
    half += density(step);
  }
  std::vector<float> quantiles(kDrawValues);
  double sum = 0;
  int64_t step = 0;
  for (int64_t i = 0; i < kDrawValues / 2; ++i) {
    const double target = 2 * half * (static_cast<double>(i) + 0.5) / static_cast<double>(kDrawValues);
    while (sum < target) {
      sum += density(step++);
    }
    const double x = kFar * static_cast<double>(step) / static_cast<double>(kSteps) - kFar;
    quantiles[static_cast<size_t>(i)] = static_cast<float>(x);
    quantiles[static_cast<size_t>(kDrawValues - 1 - i)] = static_cast<float>(-x);
  }
  return quantiles;
}

}  // namespace phidias
