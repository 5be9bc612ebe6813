#pragma once

#include <cstdint>

#include "sim/hbm.h"
#include "sim/parameters.h"

// Access patterns as published benchmarks run them, on the simulated memory.
namespace phidias::sim {

struct Pattern {
  int64_t bytes = 64;   // of a transaction
  bool random = false;  // addresses: random, or one after the other
  int64_t stride = 0;   // of addresses that aren't random; 0: `bytes`
  // Channels that one port reads in turn, at random. The port's answers come in order, so that it waits for all that is
  // under way before it turns to another channel.
  int channels_of_port = 1;
  double issue_ns = 0;           // least time from one transaction to the next
  int outstanding = 16;          // under way at a time (the default of a Vitis m_axi port)
  int hops = 0;                  // switches between port and channel
  int channels = 1;              // each with a port of its own, all alike
  int ports_per_connection = 1;  // ports that share a lateral connection (with hops)
  bool writes_half = false;      // every second channel is written
};

struct PatternResult {
  double gbs = 0;         // of all channels
  double latency_ns = 0;  // mean, from sending to the last byte
};

PatternResult MeasurePattern(const Parameters& parameters, const Pattern& pattern);

}  // namespace phidias::sim
