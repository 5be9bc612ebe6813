#pragma once

#include "hls/tiled_header.h"
#include "numerics/integer.h"

// What moves words through a tile: the channel's words to who needs them, the ring, the groups that go to the cache.
namespace phidias {
namespace hls {
namespace tiled {

inline void Copy(Stream<Beat>& in, int32_t words, Stream<Word>& out) {
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(in.read().data);
  }
}

// Per group `factor_words` constants and then its weights.
inline void CopyGroups(Stream<Beat>& in, int32_t groups, int32_t factor_words, int32_t weight_words,
                       Stream<Word>& factors, Stream<Word>& weights) {
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    Copy(in, factor_words, factors);
    Copy(in, weight_words, weights);
  }
}

inline void CopyLinear(Stream<Beat>& in, const Pass& pass, int32_t rows, int32_t input_words, Stream<Word>& factors,
                       Stream<Word>& weights) {
  Copy(in, 1, factors);
  CopyGroups(in, RowGroups(rows), kFactorWords, WeightWords(input_words, pass.int4), factors, weights);
}

// The same with keys or values between the groups.
inline void CopyLinearAndCache(Stream<Beat>& in, const Pass& pass, int32_t rows, int32_t input_words, int32_t step,
                               Stream<Word>& factors, Stream<Word>& weights, Stream<Word>& attention) {
  const int32_t groups = RowGroups(rows);
  int32_t left = CacheWords(pass);
  Copy(in, 1, factors);
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    const int32_t part = CachePart(left, step);
    left -= part;
    Copy(in, part, attention);
    CopyGroups(in, 1, kFactorWords, WeightWords(input_words, pass.int4), factors, weights);
  }
}

inline void CopyLayer(Stream<Beat>& in, const Pass& pass, Stream<Word>& weights, Stream<Word>& factors,
                      Stream<Word>& attention) {
  Copy(in, pass.heads, attention);  // constants
QKV:
  for (int i = 0; i < 3; ++i) {
    CopyLinear(in, pass, pass.rows, pass.hidden_words, factors, weights);
  }
  Copy(in, kGeluTableWords, factors);
  // fc1 with keys, fc2 with values.
  CopyLinearAndCache(in, pass, pass.mlp_rows, pass.hidden_words, pass.key_step, factors, weights, attention);
  CopyLinearAndCache(in, pass, pass.rows, pass.mlp_words, pass.value_step, factors, weights, attention);
  CopyLinear(in, pass, pass.rows, pass.slices_words, factors, weights);
}

// The channel's words, in the order of the memory unit's plan, which begins with the pass's header.
inline void Route(Stream<Beat>& in, Stream<int32_t>& multiply_headers, Stream<int32_t>& requantize_headers,
                  Stream<int32_t>& attend_headers, Stream<int32_t>& ring_headers, Stream<int32_t>& keep_headers,
                  Stream<int32_t>& choose_headers, Stream<Word>& weights, Stream<Word>& factors,
                  Stream<Word>& attention) {
  bool running = true;
PASSES:
  while (running) {
    int32_t fields[kPassFields];
    PHIDIAS_PARTITION(fields)
  FIELDS:
    for (int i = 0; i < kPassFields; ++i) {
      PHIDIAS_PIPELINE(1)
      fields[i] = IntOf(in.read());
      multiply_headers.write(fields[i]);
      requantize_headers.write(fields[i]);
      attend_headers.write(fields[i]);
      ring_headers.write(fields[i]);
      keep_headers.write(fields[i]);
      choose_headers.write(fields[i]);
    }
    const Pass pass = PassFrom(fields);
    running = pass.opcode != kStop;
    if (running) {
      Copy(in, kExpTableWords, attention);
    LAYERS:
      for (int32_t layer = 0; layer < pass.layers; ++layer) {
        CopyLayer(in, pass, weights, factors, attention);
      }
    SWEEPS:
      for (int32_t s = 0; s < Sweeps(pass); ++s) {
        CopyGroups(in, RowGroups(pass.head_rows), kHeadFactorWords, pass.planes * pass.hidden_words * kBeatsPerWord,
                   factors, weights);
      }
    }
  }
}

// --- the ring: the core's words go round to the last tile, the tiles' words on to the core ---

inline void PassOn(Stream<Beat>& in, int32_t words, Stream<Beat>& out) {
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(in.read());
  }
}

// Words for every tile, of which it takes the first `parts` parts; the last one passes nothing on.
inline void ReceiveParts(Stream<Beat>& in, const Pass& pass, int32_t words, int parts, Stream<Part>& own,
                         Stream<Beat>& out) {
WORDS:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(4)
    const Beat beat = in.read();
  PARTS:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < kParts; ++i) {
      PHIDIAS_UNROLL
      if (i < parts) {
        own.write(PartOf(beat.data, i));
      }
    }
    if (pass.tile + 1 < pass.tiles) {
      out.write(beat);
    }
  }
}

// Words of every tile, the first tile's first.
inline void Send(Stream<Beat>& in, const Pass& pass, int32_t words, Stream<Word>& own, Stream<Beat>& out) {
  PassOn(in, Times(words, pass.tile), out);
OWN:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(BeatOf(own.read()));
  }
}

inline void RingLayer(Stream<Beat>& in, const Pass& pass, Stream<Word>& results, Stream<Word>& attended,
                      Stream<Part>& inputs, Stream<Beat>& out) {
  const int32_t sums = Times(RowGroups(pass.rows), pass.tokens);
  ReceiveParts(in, pass, Times(pass.hidden_words, pass.tokens), kParts, inputs, out);
  Send(in, pass, Times(pass.mlp_slice_words, pass.tokens), results, out);
  ReceiveParts(in, pass, Times(pass.mlp_words, pass.tokens), kParts, inputs, out);
  Send(in, pass, Times(pass.slice_words, pass.tokens), attended, out);
  ReceiveParts(in, pass, Times(pass.slices_words, pass.tokens), kParts, inputs, out);
  Send(in, pass, sums, results, out);  // fc2
  Send(in, pass, sums, results, out);  // dense
}

// One row's words of lm_head's output that a tile sends.
PHIDIAS_INLINE int32_t HeadOutputWords(const Pass& pass) {
  return pass.best ? kCandidateWords : RowGroups(pass.head_rows);
}

inline void Ring(Stream<int32_t>& headers, Stream<Beat>& in, Stream<Word>& results, Stream<Word>& attended,
                 Stream<Part>& inputs, Stream<Part>& input_sums, Stream<Part>& rotary, Stream<Beat>& out) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
    running = pass.opcode != kStop;
    if (running) {
      const int32_t rotary_words = Times(RotaryWords(pass.rotary_dim), pass.tokens);
      ReceiveParts(in, pass, rotary_words, kParts, rotary, out);
    LAYERS:
      for (int32_t layer = 0; layer < pass.layers; ++layer) {
        RingLayer(in, pass, results, attended, inputs, out);
      }
    SWEEPS:
      for (int32_t s = 0; s < Sweeps(pass); ++s) {
        const int32_t rows = SweepRows(pass, s);
        ReceiveParts(in, pass, Times(pass.hidden_words, 2 * rows), kParts, inputs, out);
        ReceiveParts(in, pass, 1, 1, input_sums, out);
        Send(in, pass, Times(HeadOutputWords(pass), rows), results, out);
      }
    }
  }
}

// --- the KV cache ---

// Groups wait here for the pass's end, when the memory unit has read all that it wants of the channel.
inline void KeepGroups(Stream<int32_t>& headers, Stream<Part>& groups, Stream<NarrowBeat>& out) {
  NarrowWord kept[kMaxTileKvWords * kNarrowBeats];
  PHIDIAS_STORAGE(kept, ram_2p, uram)
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = ReceivePass(headers);
    running = pass.opcode != kStop;
    const int32_t words = running ? Times(Times(KvGroupWords(pass.head_dim), pass.heads), pass.layers) * 2 : 0;
    const int32_t count = words * kNarrowBeats;
    constexpr int kOfPart = kPartBits / kNarrowBits;
    Part part = 0;
  TAKE:
    for (int32_t i = 0; i < count; ++i) {
      PHIDIAS_PIPELINE(1)
      if (i % kOfPart == 0) {
        part = groups.read();
      }
      kept[i] = NarrowOf(part, i % kOfPart);
    }
  GIVE:
    for (int32_t i = 0; i < count; ++i) {
      PHIDIAS_PIPELINE(1)
      out.write(NarrowBeatOf(kept[i]));
    }
  }
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
