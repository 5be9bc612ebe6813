// Attention of one token in one layer, one head after the other, hls/kernels.h.
//
//   rotary, k, q -> Rotate -> k: CacheHeads <-> k_cache        v: CacheHeads <-> v_cache
//                     |             |                                 |
//                     |         PairKeys                              |
//                     |             |                                 |
//                     q ---------> Score -> Fold -> Softmax -----> Weigh
//                                                                     |
//                                                           out <- WriteHeads
//
// Each cache has one stage that alone touches its port: it appends the token's row, then reads what is before it, head
// by head; the token's own row comes from the chip. Softmax keeps one head's scores on chip and takes the exact maximum
// first.

#include "hls/attention_stages.h"
#include "hls/kernels.h"
#include "hls/word.h"

namespace phidias {
namespace hls {
namespace attention {
namespace {

void ReadHeads(const Word* heads, int32_t n_heads, int32_t head_dim, Stream<Word>& out) {
  ReadMemory(heads, n_heads * FloatWords(head_dim), out);
}

void WriteHeads(Stream<Word>& in, int32_t n_heads, int32_t head_dim, Word* heads) {
  WriteVector(in, n_heads * head_dim, heads);
}

// Cosines, then sines, of one position.
void ReadRotary(const Word* rotary, int32_t pos, int32_t rotary_dim, Stream<Word>& out) {
  const int32_t words = 2 * FloatWords(rotary_dim / 2);
  ReadMemory(rotary + pos * words, words, out);
}

// Writes the token's row, one head's part after the other, into the cache at `pos`, and keeps a copy.
void Append(Stream<Word>& row_in, Word* cache, int32_t pos, int32_t capacity, int32_t n_kv_heads, int32_t head_words,
            Word row[kMaxKvElements / kWordFloats]) {
HEADS:
  for (int32_t h = 0; h < n_kv_heads; ++h) {
    Word* to = cache + (h * capacity + pos) * head_words;
    SimCountWrite(to, static_cast<uint64_t>(head_words) * sizeof(Word));
  WORDS:
    for (int32_t w = 0; w < head_words; ++w) {
      PHIDIAS_PIPELINE(1)
      const Word word = row_in.read();
      row[h * head_words + w] = word;
      to[w] = word;
    }
  }
}

// One head of positions 0..pos, in memory order.
void StreamRows(const Word* cache, const Word* own, int32_t pos, int32_t head_words, Stream<Word>& out) {
  ReadMemory(cache, pos * head_words, out);
OWN:
  for (int32_t w = 0; w < head_words; ++w) {
    PHIDIAS_PIPELINE(1)
    out.write(own[w]);
  }
}

// One head, a column of words after the other: word 0 of positions 0..pos, then word 1, ... No burst in it.
void StreamColumns(const Word* cache, const Word* own, int32_t pos, int32_t head_words, Stream<Word>& out) {
  SimCountRead(cache, static_cast<uint64_t>(pos) * head_words * sizeof(Word));
COLUMNS:
  for (int32_t w = 0; w < head_words; ++w) {
  POSITIONS:
    for (int32_t j = 0; j <= pos; ++j) {
      PHIDIAS_PIPELINE(1)
      out.write(j < pos ? cache[j * head_words + w] : own[w]);
    }
  }
}

// The stage that owns a cache: appends, then streams to every query head the keys (values) of its group.
template <bool kByColumn>
void CacheHeads(Stream<Word>& row_in, Word* cache, int32_t pos, int32_t capacity, int32_t n_heads, int32_t n_kv_heads,
                int32_t head_dim, Stream<Word>& out) {
  Word row[kMaxKvElements / kWordFloats];
  const int32_t head_words = FloatWords(head_dim);
  Append(row_in, cache, pos, capacity, n_kv_heads, head_words, row);
  const int32_t group = n_heads / n_kv_heads;
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    const int32_t kv_head = h / group;
    const Word* from = cache + kv_head * capacity * head_words;
    const Word* own = row + kv_head * head_words;
    if (kByColumn) {
      StreamColumns(from, own, pos, head_words, out);
    } else {
      StreamRows(from, own, pos, head_words, out);
    }
  }
}

template <bool kByColumn>
void Attention(const Word* q, const Word* k, const Word* v, const Word* rotary, Word* k_cache, Word* v_cache, Word* out,
               int32_t pos, int32_t capacity, int32_t n_heads, int32_t n_kv_heads, int32_t head_dim, int32_t rotary_dim,
               float scale) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kStageFifoDepth> q_plain("q_plain");
  Stream<Word, kStageFifoDepth> k_plain("k_plain");
  Stream<Word, kStageFifoDepth> v_row("v_row");
  Stream<Word, kStageFifoDepth> angles("angles");
  Stream<Word, kStageFifoDepth> q_rotated("q_rotated");
  Stream<Word, kStageFifoDepth> k_row("k_row");
  Stream<Word, kMemoryFifoDepth> keys("keys");
  Stream<Word, kMemoryFifoDepth> values("values");
  Stream<Word, kStageFifoDepth> paired("paired");
  Stream<Word, kStageFifoDepth> partial_sums("partial_sums");
  Stream<float, kStageFifoDepth> scores("scores");
  Stream<float, kStageFifoDepth> weights("weights");
  Stream<float, kStageFifoDepth> inverse_sums("inverse_sums");
  Stream<Word, kStageFifoDepth> outputs("outputs");
  PHIDIAS_STAGE(ReadRotary(rotary, pos, rotary_dim, angles));
  PHIDIAS_STAGE(ReadHeads(k, n_kv_heads, head_dim, k_plain));
  PHIDIAS_STAGE(ReadHeads(q, n_heads, head_dim, q_plain));
  PHIDIAS_STAGE(ReadHeads(v, n_kv_heads, head_dim, v_row));
  PHIDIAS_STAGE(Rotate(angles, k_plain, q_plain, n_heads, n_kv_heads, head_dim, rotary_dim, scale, k_row, q_rotated));
  PHIDIAS_STAGE(CacheHeads<false>(k_row, k_cache, pos, capacity, n_heads, n_kv_heads, head_dim, keys));
  PHIDIAS_STAGE(CacheHeads<kByColumn>(v_row, v_cache, pos, capacity, n_heads, n_kv_heads, head_dim, values));
  PHIDIAS_STAGE(PairKeys(keys, pos, n_heads, head_dim, paired));
  PHIDIAS_STAGE(Score(q_rotated, paired, pos, n_heads, head_dim, partial_sums));
  PHIDIAS_STAGE(Fold(partial_sums, pos, n_heads, scores));
  PHIDIAS_STAGE(Softmax(scores, pos, n_heads, weights, inverse_sums));
  PHIDIAS_STAGE(Weigh<kByColumn>(values, weights, inverse_sums, pos, n_heads, head_dim, outputs));
  PHIDIAS_STAGE(WriteHeads(outputs, n_heads, head_dim, out));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace attention
}  // namespace hls
}  // namespace phidias

extern "C" void attention(const ap_uint<512>* q, const ap_uint<512>* k, const ap_uint<512>* v,
                          const ap_uint<512>* rotary, ap_uint<512>* k_cache, ap_uint<512>* v_cache, ap_uint<512>* out,
                          int32_t pos, int32_t capacity, int32_t n_heads, int32_t n_kv_heads, int32_t head_dim,
                          int32_t rotary_dim, float scale) {
// clang-format off
#pragma HLS interface mode=m_axi port=q bundle=gmem_q offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=k bundle=gmem_k offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=v bundle=gmem_v offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=rotary bundle=gmem_r offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=k_cache bundle=gmem_kc offset=slave max_read_burst_length=64 num_read_outstanding=16 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=m_axi port=v_cache bundle=gmem_vc offset=slave max_read_burst_length=64 num_read_outstanding=16 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=m_axi port=out bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("attention");
  phidias::hls::attention::Attention<false>(q, k, v, rotary, k_cache, v_cache, out, pos, capacity, n_heads, n_kv_heads,
                                            head_dim, rotary_dim, scale);
}

extern "C" void attention_by_column(const ap_uint<512>* q, const ap_uint<512>* k, const ap_uint<512>* v,
                                    const ap_uint<512>* rotary, ap_uint<512>* k_cache, ap_uint<512>* v_cache,
                                    ap_uint<512>* out, int32_t pos, int32_t capacity, int32_t n_heads,
                                    int32_t n_kv_heads, int32_t head_dim, int32_t rotary_dim, float scale) {
// clang-format off
#pragma HLS interface mode=m_axi port=q bundle=gmem_q offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=k bundle=gmem_k offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=v bundle=gmem_v offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=rotary bundle=gmem_r offset=slave max_read_burst_length=64 num_read_outstanding=4
#pragma HLS interface mode=m_axi port=k_cache bundle=gmem_kc offset=slave max_read_burst_length=64 num_read_outstanding=16 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=m_axi port=v_cache bundle=gmem_vc offset=slave max_read_burst_length=64 num_read_outstanding=16 max_write_burst_length=8 num_write_outstanding=4
#pragma HLS interface mode=m_axi port=out bundle=gmem_y offset=slave max_write_burst_length=64 num_write_outstanding=4
#pragma HLS interface mode=s_axilite port=return
  // clang-format on
  PHIDIAS_TOP("attention_by_column");
  phidias::hls::attention::Attention<true>(q, k, v, rotary, k_cache, v_cache, out, pos, capacity, n_heads, n_kv_heads,
                                           head_dim, rotary_dim, scale);
}
