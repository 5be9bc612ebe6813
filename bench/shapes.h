#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/status.h"

namespace phidias {

// A linear layer y[M, n] = x[M, k] * w[n, k]^T.
struct Shape {
  std::string name;
  int64_t n = 0;
  int64_t k = 0;
};

// Reads a shapes file: a line "NAME N K" for each, "#" begins a comment. Errors name the file and the line.
Result<std::vector<Shape>> ReadShapes(const std::string& path);

// Takes "--shapes=FILE" out of the program's arguments and reads it, else bench/shapes.txt.
Result<std::vector<Shape>> ShapesFromArguments(int* argc, char** argv);

}  // namespace phidias
