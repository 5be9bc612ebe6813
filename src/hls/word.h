#pragma once

#include <ap_int.h>
#include <hls_stream.h>

#include <cstdint>

#include "hls/design.h"
#include "hls/pragmas.h"
#include "hls/sim_memory.h"
#include "numerics/bits.h"

// Words of 512 bits, streams of them, and the stages that move them between memory and streams.
namespace phidias {
namespace hls {

using Word = ap_uint<kWordBits>;

template <class T, int kDepth = 0>
using Stream = ::hls::stream<T, kDepth>;

// --- slices: the only place that knows how a library of ap_uint spells them ---

template <int kBits, int kWidth>
PHIDIAS_INLINE uint32_t Field(const ap_uint<kWidth>& word, int index) {
#ifdef __BAMBU__
  return static_cast<uint32_t>(word.template slc<kBits>(kBits * index));
#else
  return word.range(kBits * index + kBits - 1, kBits * index).to_uint();
#endif
}

template <int kBits, int kWidth>
PHIDIAS_INLINE void SetField(ap_uint<kWidth>* word, int index, uint32_t value) {
#ifdef __BAMBU__
  word->set_slc(kBits * index, static_cast<ap_uint<kBits> >(value));
#else
  word->range(kBits * index + kBits - 1, kBits * index) = value;
#endif
}

PHIDIAS_INLINE float FloatAt(const Word& word, int lane) {
  return numerics::FloatOf(Field<32>(word, lane));
}
PHIDIAS_INLINE void SetFloat(Word* word, int lane, float value) {
  SetField<32>(word, lane, numerics::BitsOf(value));
}
PHIDIAS_INLINE int32_t IntAt(const Word& word, int lane) {
  return static_cast<int32_t>(Field<32>(word, lane));
}
PHIDIAS_INLINE void SetInt(Word* word, int lane, int32_t value) {
  SetField<32>(word, lane, static_cast<uint32_t>(value));
}
PHIDIAS_INLINE int8_t ByteAt(const Word& word, int index) {
  return static_cast<int8_t>(Field<8>(word, index));
}
PHIDIAS_INLINE void SetByte(Word* word, int index, int8_t value) {
  SetField<8>(word, index, static_cast<uint8_t>(value));
}

// Memory that the host writes and reads while the kernel runs.
PHIDIAS_INLINE uint32_t LoadShared(const volatile uint32_t* place) {
#ifdef __SYNTHESIS__
  return *place;
#else
  return __atomic_load_n(place, __ATOMIC_ACQUIRE);
#endif
}
PHIDIAS_INLINE void StoreShared(volatile uint32_t* place, uint32_t value) {
#ifdef __SYNTHESIS__
  *place = value;
#else
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
#endif
}

// Words that `count` floats take.
PHIDIAS_INLINE int32_t FloatWords(int32_t count) {
  return (count + kWordFloats - 1) / kWordFloats;
}

// --- stages ---

// count elements of memory, in order: bursts of up to kMaxBurst beats (the port's pragma).
template <class Beat>
void ReadMemory(const Beat* memory, int32_t count, Stream<Beat>& out) {
  SimCountRead(memory, static_cast<uint64_t>(count) * sizeof(Beat));
READ:
  for (int32_t i = 0; i < count; ++i) {
    PHIDIAS_PIPELINE(1)
    out.write(memory[i]);
  }
}

// n floats of memory, in whole words.
inline void ReadVector(const Word* memory, int32_t n, Stream<Word>& out) {
  ReadMemory(memory, FloatWords(n), out);
}

inline void WriteVector(Stream<Word>& in, int32_t n, Word* memory) {
  const int32_t words = FloatWords(n);
  SimCountWrite(memory, static_cast<uint64_t>(words) * sizeof(Word));
WRITE:
  for (int32_t i = 0; i < words; ++i) {
    PHIDIAS_PIPELINE(1)
    memory[i] = in.read();
  }
}

// Four copies of a stream of n floats.
inline void CopyToFour(Stream<Word>& in, int32_t n, Stream<Word>& out0, Stream<Word>& out1, Stream<Word>& out2,
                       Stream<Word>& out3) {
  const int32_t words = FloatWords(n);
COPY:
  for (int32_t i = 0; i < words; ++i) {
    PHIDIAS_PIPELINE(1)
    const Word word = in.read();
    out0.write(word);
    out1.write(word);
    out2.write(word);
    out3.write(word);
  }
}

}  // namespace hls
}  // namespace phidias
