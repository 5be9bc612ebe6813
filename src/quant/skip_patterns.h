#pragma once

#include <string>
#include <vector>

#include "common/status.h"

namespace phidias {

// Which of `linears` ("model.layers.0.mlp.fc2", ..., "lm_head") the patterns of `flag` name, in their order. A
// pattern is a name, its end at a dot ("fc2", "mlp.fc2"), a glob over the whole name ("model.layers.[01].*"), or "re:"
// and a regex matched from the start of the name as compressed-tensors does. A pattern that matches nothing is an
// error.
Result<std::vector<std::string>> MatchSkipPatterns(const std::vector<std::string>& patterns,
                                                   const std::vector<std::string>& linears,
                                                   const char* flag = "--skip");

}  // namespace phidias
