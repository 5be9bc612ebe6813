// Any bytes as a row of a data set and as the state files of interrupted runs: an answer or an error that fits a line.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "quant/data_row.h"
#include "quant/perplexity_state.h"
#include "quant/sweep_state.h"

namespace {

void Require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void CheckError(const phidias::Status& status) {
  Require(status.ok() || (!status.message().empty() && status.message().size() < 2000));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  const phidias::Result<std::string> row = phidias::ParseDataRow(text);
  CheckError(row.status());
  Require(!row.ok() || row->size() <= 20 * size);  // "Instruct: \n" around each message

  phidias::KnownScores scores(4);
  CheckError(phidias::ParsePerplexityState(text, "state.json", "f", &scores));
  const phidias::Result<phidias::SweepState> sweep = phidias::ParseSweepState(text, "sweep.json", "f");
  CheckError(sweep.status());
  if (sweep.ok()) {  // what was read is what is written
    const std::string again = phidias::SweepStateText("f", *sweep);
    Require(phidias::SweepStateText("f", *phidias::ParseSweepState(again, "sweep.json", "f")) == again);
  }
  return 0;
}
