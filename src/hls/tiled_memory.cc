// The memory unit of the design `tiled`, hls/tiled_kernels.h: one channel of HBM, all addresses known when a pass
// begins. One loop nest reads and writes, so that no group of the KV cache is read before it has been written.

#include "hls/tiled_header.h"
#include "hls/tiled_kernels.h"

namespace phidias {
namespace hls {
namespace tiled {
namespace {

void ReadWords(const Word* channel, int32_t at, int32_t words, Stream<Beat>& out) {
  SimCountRead(channel + at, static_cast<uint64_t>(words) * sizeof(Word));
READ:
  for (int32_t w = 0; w < words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(BeatOf(channel[at + w]));
  }
}

// Keys (0) or values (1) of a layer: words `begin` to `end` of those that all heads have of positions before the pass.
void ReadCache(const Word* channel, const Pass& pass, int32_t layer, int32_t values, int32_t begin, int32_t end,
               Stream<Beat>& out) {
  const int32_t of_head = StoredGroups(pass) * KvGroupWords(pass.head_dim);
HEADS:
  for (int32_t head = 0; head < pass.heads; ++head) {
    const int32_t first = begin > head * of_head ? begin : head * of_head;
    const int32_t last = end < (head + 1) * of_head ? end : (head + 1) * of_head;
    if (first < last) {
      ReadWords(channel, KvWord(pass, layer, head, values) + first - head * of_head, last - first, out);
    }
  }
}

// A linear layer's groups of `words` words from `at`, keys or values between them.
void ReadGroupsAndCache(const Word* channel, const Pass& pass, int32_t layer, int32_t values, int32_t at,
                        int32_t groups, int32_t words, Stream<Beat>& out) {
  const int32_t step = values == 0 ? pass.key_step : pass.value_step;
  const int32_t all = CacheWords(pass);
  int32_t begin = 0;
GROUPS:
  for (int32_t g = 0; g < groups; ++g) {
    const int32_t end = begin + CachePart(all - begin, step);
    ReadCache(channel, pass, layer, values, begin, end, out);
    begin = end;
    ReadWords(channel, at + g * words, words, out);
  }
}

void ReadPassWords(const Word* channel, const Pass& pass, Stream<Beat>& out) {
  ReadWords(channel, 0, kExpTableWords, out);
  int32_t at = kExpTableWords;
LAYERS:
  for (int32_t layer = 0; layer < pass.layers; ++layer) {
    ReadWords(channel, at, QkvWords(pass) + kGeluTableWords + 1, out);
    ReadGroupsAndCache(channel, pass, layer, 0, at + QkvWords(pass) + kGeluTableWords + 1, RowGroups(pass.mlp_rows),
                       GroupWords(pass.hidden_words, pass.int4), out);
    at += QkvWords(pass) + Fc1Words(pass);
    ReadWords(channel, at, 1, out);
    ReadGroupsAndCache(channel, pass, layer, 1, at + 1, RowGroups(pass.rows), GroupWords(pass.mlp_words, pass.int4),
                       out);
    at += Fc2Words(pass);
    ReadWords(channel, at, DenseWords(pass), out);
    at += DenseWords(pass);
  }
SWEEPS:
  for (int32_t s = 0; s < Sweeps(pass); ++s) {
    ReadWords(channel, at, HeadWords(pass), out);
  }
}

Word ReadNarrow(Stream<NarrowBeat>& in) {
  Word word = 0;
PARTS:
  for (int i = 0; i < kNarrowBeats; ++i) {
    PHIDIAS_PIPELINE(1)
    const NarrowBeat beat = in.read();
    MoveInField(beat.data.range(31, 0).to_uint(), &word);
    MoveInField(beat.data.range(63, 32).to_uint(), &word);
  }
  return word;
}

// The groups that hold the pass's positions, in the order in which the attention met them.
void WriteGroups(Word* channel, const Pass& pass, Stream<NarrowBeat>& groups) {
  const int32_t words = KvGroupWords(pass.head_dim);
LAYERS:
  for (int32_t layer = 0; layer < pass.layers; ++layer) {
  PARTS:
    for (int32_t values = 0; values < 2; ++values) {
    HEADS:
      for (int32_t head = 0; head < pass.heads; ++head) {
        const int32_t at = KvWord(pass, layer, head, values) + OpenGroup(pass) * words;
        SimCountWrite(channel + at, static_cast<uint64_t>(words) * sizeof(Word));
      WRITE:
        for (int32_t w = 0; w < words; ++w) {
          channel[at + w] = ReadNarrow(groups);
        }
      }
    }
  }
}

// A pass's header, to this unit, its tile and the next unit at once. The last unit sends back its first integer alone,
// so the sequencer, which has the others still to send, has nothing to take meanwhile.
Pass PassOnHeader(Stream<HeaderBeat>& headers_in, Stream<HeaderBeat>& headers_out, Stream<Beat>& words_out) {
  int32_t fields[kPassFields];
  PHIDIAS_PARTITION(fields)
  bool last = false;
FIELDS:
  for (int i = 0; i < kPassFields; ++i) {
    PHIDIAS_PIPELINE(1)
    const int32_t value = IntOf(headers_in.read());
    fields[i] = value;
    words_out.write(IntBeatOf(value));
    if (i == kTileAt) {
      last = value + 1 == fields[kTilesAt];
    }
    if (!last) {
      headers_out.write(HeaderBeatOf(i == kTileAt ? value + 1 : value));
    }
  }
  return PassFrom(fields);
}

void ServeChannel(Word* channel, Stream<HeaderBeat>& headers_in, Stream<HeaderBeat>& headers_out,
                  Stream<Beat>& words_out, Stream<NarrowBeat>& groups_in) {
  bool running = true;
PASSES:
  while (running) {
    const Pass pass = PassOnHeader(headers_in, headers_out, words_out);
    running = pass.opcode != kStop;
    if (running) {
      ReadPassWords(channel, pass, words_out);
      WriteGroups(channel, pass, groups_in);
    }
  }
}

}  // namespace
}  // namespace tiled
}  // namespace hls
}  // namespace phidias

extern "C" void tiled_memory(ap_uint<512>* channel, hls::stream<TiledHeaderBeat>& headers_in,
                             hls::stream<TiledHeaderBeat>& headers_out, hls::stream<TiledBeat>& words_out,
                             hls::stream<TiledNarrowBeat>& groups_in) {
// clang-format off
#pragma HLS interface mode=m_axi port=channel bundle=gmem_c offset=slave max_read_burst_length=64 num_read_outstanding=8 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=axis port=headers_in
#pragma HLS interface mode=axis port=headers_out
#pragma HLS interface mode=axis port=words_out
#pragma HLS interface mode=axis port=groups_in
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("tiled_memory");
  phidias::hls::tiled::ServeChannel(channel, headers_in, headers_out, words_out, groups_in);
}
