// Attention of one token in one layer, one head after the other, hls/kernels.h.
//
//   rotary, k, q -> Rotate -> k: CacheKeys <-> k_cache        v: CacheValues <-> v_cache
//                     |             |                                |
//                     q ------> Score -> Softmax ---------> Weigh <--+
//                                                              |
//                                                    out <- WriteHeads
//
// Each cache has one stage that alone touches its port: it appends the token's row, then reads what is before it, head
// by head; the token's own row comes from the chip. Softmax keeps one head's scores on chip and takes the exact maximum
// first.

#include "hls/kernels.h"
#include "hls/word.h"
#include "numerics/elementary.h"
#include "numerics/reduce.h"
#include "numerics/rotary.h"

namespace phidias {
namespace hls {
namespace {

constexpr int kMaxHeadWords = kMaxHeadDim / kWordFloats;
constexpr int kWordSteps = kWordFloats / kAttentionUnits;  // cycles in which the units take one word

static_assert(kWordSteps * kAttentionUnits == kWordFloats, "a word is a whole number of steps");
static_assert(kWordSteps * kScorePositions >= kFaddLatency,
              "a partial sum of a score must be ready when its position's turn comes again");
static_assert(kMinHeadDim / kAttentionUnits >= kFaddLatency,
              "an element of the output must be ready when the next position comes");
static_assert(numerics::kLanes == kWordFloats, "a word feeds each partial sum once");

// --- memory ---

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

// One head, element by element: the words that hold element 0 of positions 0..pos, then those of element 1, ...
void StreamColumns(const Word* cache, const Word* own, int32_t pos, int32_t head_words, Stream<Word>& out) {
COLUMNS:
  for (int32_t d = 0; d < head_words * kWordFloats; ++d) {
    SimCountRead(cache, static_cast<uint64_t>(pos) * sizeof(Word));
  POSITIONS:
    for (int32_t j = 0; j <= pos; ++j) {
      PHIDIAS_PIPELINE(1)
      const int32_t w = d / kWordFloats;
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

// --- arithmetic ---

// n_heads heads of head_words words, rotated, and multiplied by `scale` if kScaled. One element a cycle.
template <bool kScaled>
void RotateHeads(Stream<Word>& in, const float cosines[kMaxHeadDim / 2], const float sines[kMaxHeadDim / 2],
                 int32_t n_heads, int32_t head_words, int32_t half, float scale, Stream<Word>& out) {
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    float head[kMaxHeadDim];
  LOAD:
    for (int32_t w = 0; w < head_words; ++w) {
      const Word word = in.read();
    LOAD_LANES:
      for (int i = 0; i < kWordFloats; ++i) {
        PHIDIAS_PIPELINE(1)
        head[w * kWordFloats + i] = FloatAt(word, i);
      }
    }
  PAIRS:
    for (int32_t i = 0; i < half; ++i) {
      PHIDIAS_PIPELINE(2)  // two elements read, two written
      numerics::Rotate(cosines[i], sines[i], &head[i], &head[i + half]);
    }
  STORE:
    for (int32_t w = 0; w < head_words; ++w) {
      Word word = 0;
    STORE_LANES:
      for (int i = 0; i < kWordFloats; ++i) {
        PHIDIAS_PIPELINE(1)
        const float value = head[w * kWordFloats + i];
        SetFloat(&word, i, kScaled ? value * scale : value);
      }
      out.write(word);
    }
  }
}

// Keys first: the caches' stages wait for them.
void Rotate(Stream<Word>& rotary, Stream<Word>& k_in, Stream<Word>& q_in, int32_t n_heads, int32_t n_kv_heads,
            int32_t head_dim, int32_t rotary_dim, float scale, Stream<Word>& k_out, Stream<Word>& q_out) {
  float cosines[kMaxHeadDim / 2];
  float sines[kMaxHeadDim / 2];
  const int32_t half = rotary_dim / 2;
  const int32_t words = FloatWords(half);
LOAD:
  for (int32_t w = 0; w < 2 * words; ++w) {
    const Word word = rotary.read();
  LOAD_LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      if (w < words) {
        cosines[w * kWordFloats + i] = FloatAt(word, i);
      } else {
        sines[(w - words) * kWordFloats + i] = FloatAt(word, i);
      }
    }
  }
  const int32_t head_words = FloatWords(head_dim);
  RotateHeads<false>(k_in, cosines, sines, n_kv_heads, head_words, half, scale, k_out);
  RotateHeads<true>(q_in, cosines, sines, n_heads, head_words, half, scale, q_out);
}

// q . k for positions 0..pos of each head: kAttentionUnits products a cycle, kScorePositions positions in turns.
void Score(Stream<Word>& q_in, Stream<Word>& k_in, int32_t pos, int32_t n_heads, int32_t head_dim,
           Stream<float>& scores) {
  const int32_t head_words = FloatWords(head_dim);
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    Word q[kMaxHeadWords];
  LOAD_Q:
    for (int32_t w = 0; w < head_words; ++w) {
      PHIDIAS_PIPELINE(1)
      q[w] = q_in.read();
    }
  POSITIONS:
    for (int32_t j = 0; j <= pos; j += kScorePositions) {
      Word keys[kScorePositions][kMaxHeadWords];
    LOAD_KEYS:
      for (int p = 0; p < kScorePositions; ++p) {
      LOAD_WORDS:
        for (int32_t w = 0; w < head_words; ++w) {
          PHIDIAS_PIPELINE(1)
          keys[p][w] = j + p <= pos ? k_in.read() : Word(0);
        }
      }
      float lanes[kScorePositions][numerics::kLanes];
      PHIDIAS_PARTITION_LANES(lanes)
    CLEAR:
      for (int p = 0; p < kScorePositions; ++p) {
        PHIDIAS_PIPELINE(1)
      CLEAR_LANES:
        for (int i = 0; i < numerics::kLanes; ++i) {
          PHIDIAS_UNROLL
          lanes[p][i] = 0.0F;
        }
      }
    WORDS:
      for (int32_t w = 0; w < head_words; ++w) {
      STEPS:
        for (int s = 0; s < kWordSteps; ++s) {
        TURNS:
          for (int p = 0; p < kScorePositions; ++p) {
            PHIDIAS_PIPELINE(1)
            PHIDIAS_DISTANCE(lanes, kWordSteps * kScorePositions)
          UNITS:
            for (int u = 0; u < kAttentionUnits; ++u) {
              PHIDIAS_UNROLL
              const int i = s * kAttentionUnits + u;
              lanes[p][i] += FloatAt(q[w], i) * FloatAt(keys[p][w], i);
            }
          }
        }
      }
    FOLD:
      for (int p = 0; p < kScorePositions; ++p) {
        PHIDIAS_PIPELINE(4)  // four adders for the fifteen additions
        const float score = numerics::TreeSum(lanes[p]);
        if (j + p <= pos) {
          scores.write(score);
        }
      }
    }
  }
}

// exp(score - max) for positions 0..pos of each head, then 1 / their sum.
void Softmax(Stream<float>& scores_in, int32_t pos, int32_t n_heads, Stream<float>& weights,
             Stream<float>& inverse_sums) {
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    float scores[kMaxPositions];
    float max = 0.0F;
  MAXIMUM:
    for (int32_t j = 0; j <= pos; ++j) {
      PHIDIAS_PIPELINE(2)  // a comparison of floats and a choice
      const float score = scores_in.read();
      scores[j] = score;
      max = j == 0 || score > max ? score : max;
    }
    float lanes[numerics::kLanes];
    PHIDIAS_PARTITION(lanes)
  CLEAR:
    for (int i = 0; i < numerics::kLanes; ++i) {
      PHIDIAS_UNROLL
      lanes[i] = 0.0F;
    }
  EXPONENTIALS:
    for (int32_t j = 0; j <= pos; ++j) {
      PHIDIAS_PIPELINE(1)
      PHIDIAS_DISTANCE(lanes, numerics::kLanes)
      const float weight = numerics::Exp(scores[j] - max);
      lanes[j % numerics::kLanes] += weight;  // never -0, so filling up with +0 changes nothing
      weights.write(weight);
    }
    inverse_sums.write(1.0F / numerics::TreeSum(lanes));
  }
}

// The head's elements times 1 / sum, to the output.
void Scale(const float acc[kMaxHeadDim], float inverse_sum, int32_t head_words, Stream<Word>& out) {
WORDS:
  for (int32_t w = 0; w < head_words; ++w) {
    Word word = 0;
  LANES:
    for (int i = 0; i < kWordFloats; ++i) {
      PHIDIAS_PIPELINE(1)
      SetFloat(&word, i, acc[w * kWordFloats + i] * inverse_sum);
    }
    out.write(word);
  }
}

// sum_j weight_j v_j, position after position as V's rows come: each element rests for the other elements' time.
void WeighRows(Stream<Word>& values, Stream<float>& weights, int32_t pos, int32_t head_words, float acc[kMaxHeadDim]) {
CLEAR:
  for (int32_t d = 0; d < head_words * kWordFloats; ++d) {
    PHIDIAS_PIPELINE(1)
    acc[d] = 0.0F;
  }
  float weight = 0.0F;
  Word value = 0;
POSITIONS:
  for (int32_t j = 0; j <= pos; ++j) {
  WORDS:
    for (int32_t w = 0; w < head_words; ++w) {
    STEPS:
      for (int s = 0; s < kWordSteps; ++s) {
        PHIDIAS_PIPELINE(1)
        PHIDIAS_DISTANCE(acc, kMinHeadDim / kAttentionUnits)
        if (w == 0 && s == 0) {
          weight = weights.read();
        }
        if (s == 0) {
          value = values.read();
        }
      UNITS:
        for (int u = 0; u < kAttentionUnits; ++u) {
          PHIDIAS_UNROLL
          const int i = s * kAttentionUnits + u;
          acc[w * kWordFloats + i] += weight * FloatAt(value, i);
        }
      }
    }
  }
}

// The same sums, element after element: every addition waits for the last.
void WeighColumns(Stream<Word>& values, Stream<float>& weights_in, int32_t pos, int32_t head_words,
                  float acc[kMaxHeadDim]) {
  float weights[kMaxPositions];
LOAD:
  for (int32_t j = 0; j <= pos; ++j) {
    PHIDIAS_PIPELINE(1)
    weights[j] = weights_in.read();
  }
COLUMNS:
  for (int32_t d = 0; d < head_words * kWordFloats; ++d) {
    float sum = 0.0F;
  POSITIONS:
    for (int32_t j = 0; j <= pos; ++j) {
      PHIDIAS_PIPELINE(kFaddLatency)
      const Word value = values.read();
      sum += weights[j] * FloatAt(value, d % kWordFloats);
    }
    acc[d] = sum;
  }
}

template <bool kByColumn>
void Weigh(Stream<Word>& values, Stream<float>& weights, Stream<float>& inverse_sums, int32_t pos, int32_t n_heads,
           int32_t head_dim, Stream<Word>& out) {
  const int32_t head_words = FloatWords(head_dim);
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    float acc[kMaxHeadDim];
    PHIDIAS_PARTITION_CYCLIC(acc, kAttentionUnits)
    if (kByColumn) {
      WeighColumns(values, weights, pos, head_words, acc);
    } else {
      WeighRows(values, weights, pos, head_words, acc);
    }
    Scale(acc, inverse_sums.read(), head_words, out);
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
  PHIDIAS_STAGE(Score(q_rotated, keys, pos, n_heads, head_dim, scores));
  PHIDIAS_STAGE(Softmax(scores, pos, n_heads, weights, inverse_sums));
  PHIDIAS_STAGE(Weigh<kByColumn>(values, weights, inverse_sums, pos, n_heads, head_dim, outputs));
  PHIDIAS_STAGE(WriteHeads(outputs, n_heads, head_dim, out));
  PHIDIAS_RUN;
}

}  // namespace
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
  phidias::hls::Attention<false>(q, k, v, rotary, k_cache, v_cache, out, pos, capacity, n_heads, n_kv_heads, head_dim,
                                 rotary_dim, scale);
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
  phidias::hls::Attention<true>(q, k, v, rotary, k_cache, v_cache, out, pos, capacity, n_heads, n_kv_heads, head_dim,
                                rotary_dim, scale);
}
