#pragma once

#include <string>
#include <vector>

#include "backend/fpga/placement.h"
#include "backend/fpga/schedule_recorder.h"
#include "sim/parameters.h"

// The model against what was published, as data.
namespace phidias::sim {

enum class Basis {
  kPredicted,  // nothing was adjusted to this figure
  kFitted,     // a parameter was chosen so that it comes out
  kHeldOut,    // another design, not looked at when parameters were chosen
  kNotFound,   // the published figure wasn't found in text: nothing is compared
};
const char* BasisName(Basis basis);

struct ValidationRow {
  std::string group;  // "table 6"
  std::string what;
  std::string unit;
  double published = 0;
  double model = 0;
  double low = 0;  // of the model, where it is an interval; else equal to `model`
  double high = 0;
  double tolerance = 0;  // relative; 0: the interval must contain the published figure
  Basis basis = Basis::kPredicted;
  std::string source;
  std::string note;

  double error() const { return published != 0 ? model / published - 1 : 0; }
  bool holds() const;
};

// What the whole model's unknowns need: Phi-2's token in both orders, with lm_head on the card and on the host.
struct WholeModelTokens {
  fpga::TokenSchedule parallel;
  fpga::TokenSchedule sequential;
  fpga::TokenSchedule parallel_host_head;
  fpga::TokenSchedule sequential_host_head;
};

// `placement`: Phi-2 on the report's design.
Result<std::vector<ValidationRow>> Validate(const WholeModelTokens& tokens, const fpga::HbmPlacement& placement,
                                            const Parameters& parameters);

// Tables for people; Markdown for the documentation.
std::string ValidationText(const std::vector<ValidationRow>& rows);
std::string ValidationMarkdown(const std::vector<ValidationRow>& rows);

}  // namespace phidias::sim
