#pragma once

#include <ap_int.h>
#include <hls_stream.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "values.h"

// For the stages' test benches, which run as C and, by bambu, against the simulated Verilog.

#ifdef __BAMBU__
#define TEST_STREAM(type, name) static hls::stream<type> name
#else
#define TEST_STREAM(type, name) static hls::stream<type, 256> name(#name)
#endif

typedef ap_uint<512> Word;

template <int kWidth>
void SetLane(ap_uint<kWidth>* word, int lane, uint32_t value) {
#ifdef __BAMBU__
  word->set_slc(32 * lane, static_cast<ap_uint<32> >(value));
#else
  word->range(32 * lane + 31, 32 * lane) = value;
#endif
}

inline Word MakeWord(const uint32_t* values) {
  Word word = 0;
  for (int i = 0; i < 16; ++i) {
    SetLane(&word, i, values[i]);
  }
  return word;
}

template <int kWidth>
uint32_t WordAt(const ap_uint<kWidth>& word, int lane) {
#ifdef __BAMBU__
  return static_cast<uint32_t>(word.template slc<32>(32 * lane));
#else
  return word.range(32 * lane + 31, 32 * lane).to_uint();
#endif
}

template <size_t kCount>
void Feed(hls::stream<Word>& stream, const uint32_t (&values)[kCount]) {
  for (size_t i = 0; i < kCount; i += 16) {
    stream.write(MakeWord(values + i));
  }
}

// A word's four parts, one after the other.
template <size_t kCount>
void FeedParts(hls::stream<ap_uint<128> >& stream, const uint32_t (&values)[kCount]) {
  for (size_t i = 0; i < kCount; i += 4) {
    ap_uint<128> part = 0;
    for (int lane = 0; lane < 4; ++lane) {
      SetLane(&part, lane, values[i + static_cast<size_t>(lane)]);
    }
    stream.write(part);
  }
}

// Reads whole words or parts; the first `count` of their lanes count. Returns the process's exit status.
template <int kWidth, size_t kCount>
int Compare(const char* stage, hls::stream<ap_uint<kWidth> >& stream, const uint32_t (&expected)[kCount], int count) {
  constexpr int kLanes = kWidth / 32;
  int mismatches = 0;
  for (size_t i = 0; i < kCount; i += kLanes) {
    const ap_uint<kWidth> word = stream.read();
    for (int lane = 0; lane < kLanes; ++lane) {
      if (static_cast<int>(i) + lane < count && WordAt(word, lane) != expected[i + lane]) {
        ++mismatches;
      }
    }
  }
  printf("%s: %d of %d values differ from ref/\n", stage, mismatches, count);
  return mismatches == 0 ? 0 : 1;
}
