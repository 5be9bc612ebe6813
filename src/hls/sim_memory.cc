#include "hls/sim_memory.h"

SimMemoryListener phidias_sim_memory_listener = nullptr;
