#include "bench/shapes.h"

#include <algorithm>
#include <sstream>
#include <string_view>

#include "common/file.h"

namespace phidias {

Result<std::vector<Shape>> ReadShapes(const std::string& path) {
  constexpr int64_t kMostElements = int64_t{1} << 32;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, 1 << 20));
  std::vector<Shape> shapes;
  std::istringstream lines(text);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    std::istringstream fields(line.substr(0, line.find('#')));
    Shape shape;
    std::string rest;
    if (!(fields >> shape.name)) {
      continue;
    }
    if (!(fields >> shape.n >> shape.k) || fields >> rest || shape.n < 1 || shape.k < 1 ||
        shape.n > kMostElements / shape.k) {
      return DataError(path, ":", number, ": ", Quoted(line), "; expected NAME N K, N * K at most ", kMostElements);
    }
    shapes.push_back(std::move(shape));
  }
  if (shapes.empty()) {
    return DataError(path, ": holds no shape; expected lines of NAME N K");
  }
  return shapes;
}

Result<std::vector<Shape>> ShapesFromArguments(int* argc, char** argv) {
  constexpr std::string_view kFlag = "--shapes=";
  std::string path = PHIDIAS_SOURCE_DIR "/bench/shapes.txt";
  char** const end = std::remove_if(argv, argv + *argc, [&](std::string_view argument) {
    if (!argument.starts_with(kFlag)) {
      return false;
    }
    path = argument.substr(kFlag.size());
    return true;
  });
  *argc = static_cast<int>(end - argv);
  return ReadShapes(path);
}

}  // namespace phidias
