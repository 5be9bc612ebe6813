#pragma once

#include <span>
#include <string>

namespace phidias::cli {

// One verb of the program. `run` sees the arguments after the verb and returns an ExitCode.
struct Verb {
  const char* name;
  const char* summary;
  const char* example;
  int (*run)(std::span<const std::string> arguments);
};

int RunVerb(std::span<const std::string> arguments);
int ServeVerb(std::span<const std::string> arguments);
int ChatVerb(std::span<const std::string> arguments);
int TokenizeVerb(std::span<const std::string> arguments);
int InspectVerb(std::span<const std::string> arguments);
int TraceVerb(std::span<const std::string> arguments);
int PerplexityVerb(std::span<const std::string> arguments);
int QuantizeVerb(std::span<const std::string> arguments);
int SweepVerb(std::span<const std::string> arguments);
int DamageVerb(std::span<const std::string> arguments);
int BenchVerb(std::span<const std::string> arguments);
int SynthVerb(std::span<const std::string> arguments);
int SimulateVerb(std::span<const std::string> arguments);
int ExploreVerb(std::span<const std::string> arguments);
int PlanVerb(std::span<const std::string> arguments);
int DevicesVerb(std::span<const std::string> arguments);
int DoctorVerb(std::span<const std::string> arguments);
int PackVerb(std::span<const std::string> arguments);

// The whole program. Never throws.
int Main(std::span<const std::string> arguments);

}  // namespace phidias::cli
