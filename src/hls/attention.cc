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
// first. Inner loops with a variable number of words are written as one loop with counters, since Vitis flattens a nest
// only if all its inner bounds are constant, and without that the pipeline runs empty once a position.

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
static_assert(kWordSteps * kColumnInterval >= kFaddLatency,
              "an element of the output must be ready when the next word of its column comes");
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

// The keys of kScorePositions positions in turns, word by word; zeros for positions after the last.
void PairKeys(Stream<Word>& in, int32_t pos, int32_t n_heads, int32_t head_dim, Stream<Word>& out) {
  const int32_t head_words = FloatWords(head_dim);
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
  POSITIONS:
    for (int32_t j = 0; j <= pos; j += kScorePositions) {
      Word keys[kScorePositions][kMaxHeadWords];
    LOAD:
      for (int p = 0; p < kScorePositions; ++p) {
      LOAD_WORDS:
        for (int32_t w = 0; w < head_words; ++w) {
          PHIDIAS_PIPELINE(1)
          keys[p][w] = j + p <= pos ? in.read() : Word(0);
        }
      }
    STORE:
      for (int32_t w = 0; w < head_words; ++w) {
      STORE_TURNS:
        for (int p = 0; p < kScorePositions; ++p) {
          PHIDIAS_PIPELINE(1)
          out.write(keys[p][w]);
        }
      }
    }
  }
}

// The 16 partial sums of q . k, a word a position, for positions 0..pos of one head: kAttentionUnits products a cycle.
void ScoreHead(const Word q[kMaxHeadWords], Stream<Word>& keys, int32_t pos, int32_t head_words,
               Stream<Word>& partial_sums) {
  float lanes[kScorePositions][numerics::kLanes];
  PHIDIAS_PARTITION(lanes)
  Word key[kScorePositions];
  PHIDIAS_PARTITION(key)
  const int32_t words = (pos / kScorePositions + 1) * head_words;  // of each position of a pair
  int32_t w = 0;
  int32_t j = 0;
WORDS:
  for (int32_t t = 0; t < words; ++t) {
  STEPS:
    for (int s = 0; s < kWordSteps; ++s) {
    TURNS:
      for (int p = 0; p < kScorePositions; ++p) {
        PHIDIAS_PIPELINE(1)
        PHIDIAS_DISTANCE(lanes, kWordSteps * kScorePositions)
        if (s == 0) {
          key[p] = keys.read();
        }
      UNITS:
        PHIDIAS_UNROLL_BEFORE
        for (int u = 0; u < kAttentionUnits; ++u) {
          PHIDIAS_UNROLL
          const int i = s * kAttentionUnits + u;
          const float before = w == 0 ? 0.0F : lanes[p][i];
          lanes[p][i] = before + FloatAt(q[w], i) * FloatAt(key[p], i);
        }
        if (s == kWordSteps - 1 && w == head_words - 1 && j + p <= pos) {
          Word sums = 0;
        LANES:
          PHIDIAS_UNROLL_BEFORE
          for (int i = 0; i < numerics::kLanes; ++i) {
            PHIDIAS_UNROLL
            SetFloat(&sums, i, lanes[p][i]);
          }
          partial_sums.write(sums);
        }
      }
    }
    if (w == head_words - 1) {
      w = 0;
      j += kScorePositions;
    } else {
      ++w;
    }
  }
}

void Score(Stream<Word>& q_in, Stream<Word>& keys, int32_t pos, int32_t n_heads, int32_t head_dim,
           Stream<Word>& partial_sums) {
  const int32_t head_words = FloatWords(head_dim);
HEADS:
  for (int32_t h = 0; h < n_heads; ++h) {
    Word q[kMaxHeadWords];
  LOAD_Q:
    for (int32_t w = 0; w < head_words; ++w) {
      PHIDIAS_PIPELINE(1)
      q[w] = q_in.read();
    }
    ScoreHead(q, keys, pos, head_words, partial_sums);
  }
}

// Partial sums to scores.
void Fold(Stream<Word>& partial_sums, int32_t pos, int32_t n_heads, Stream<float>& scores) {
  const int32_t count = n_heads * (pos + 1);
SCORES:
  for (int32_t t = 0; t < count; ++t) {
    PHIDIAS_PIPELINE(4)  // four adders for the fifteen additions
    const Word sums = partial_sums.read();
    float lanes[numerics::kLanes];
    PHIDIAS_PARTITION(lanes)
  LANES:
    PHIDIAS_UNROLL_BEFORE
    for (int i = 0; i < numerics::kLanes; ++i) {
      PHIDIAS_UNROLL
      lanes[i] = FloatAt(sums, i);
    }
    scores.write(numerics::TreeSum(lanes));
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
    PHIDIAS_UNROLL_BEFORE
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
  float weight = 0.0F;
  Word value = 0;
  const int32_t words = (pos + 1) * head_words;
  int32_t w = 0;
WORDS:
  for (int32_t t = 0; t < words; ++t) {
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
      PHIDIAS_UNROLL_BEFORE
      for (int u = 0; u < kAttentionUnits; ++u) {
        PHIDIAS_UNROLL
        const int i = s * kAttentionUnits + u;
        const float before = t < head_words ? 0.0F : acc[w * kWordFloats + i];
        acc[w * kWordFloats + i] = before + weight * FloatAt(value, i);
      }
    }
    w = w == head_words - 1 ? 0 : w + 1;
  }
}

// The same sums, one column of words after the other: with 16 elements at a time, an element's turn comes so soon that
// the pipeline has to wait for the adders.
void WeighColumns(Stream<Word>& values, Stream<float>& weights_in, int32_t pos, int32_t head_words,
                  float acc[kMaxHeadDim]) {
  float weights[kMaxPositions];
LOAD:
  for (int32_t j = 0; j <= pos; ++j) {
    PHIDIAS_PIPELINE(1)
    weights[j] = weights_in.read();
  }
COLUMNS:
  for (int32_t w = 0; w < head_words; ++w) {
    Word value = 0;
  POSITIONS:
    for (int32_t j = 0; j <= pos; ++j) {
    STEPS:
      for (int s = 0; s < kWordSteps; ++s) {
        PHIDIAS_PIPELINE(kColumnInterval)
        PHIDIAS_DISTANCE(acc, kWordSteps)
        if (s == 0) {
          value = values.read();
        }
      UNITS:
        PHIDIAS_UNROLL_BEFORE
        for (int u = 0; u < kAttentionUnits; ++u) {
          PHIDIAS_UNROLL
          const int i = s * kAttentionUnits + u;
          const float before = j == 0 ? 0.0F : acc[w * kWordFloats + i];
          acc[w * kWordFloats + i] = before + weights[j] * FloatAt(value, i);
        }
      }
    }
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
