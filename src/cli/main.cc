#include <string>
#include <vector>

#include "cli/verbs.h"

int main(int argc, char** argv) {
  return phidias::cli::Main(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
}
