#pragma once

#include "hls/word.h"
#include "numerics/elementary.h"
#include "numerics/reduce.h"
#include "numerics/rotary.h"

// The arithmetic of attention: streams in, streams out. Inner loops with a variable number of words are written as one
// loop with counters, since Vitis flattens a nest only if all its inner bounds are constant, and without that the
// pipeline runs empty once a position.
namespace phidias {
namespace hls {
namespace attention {

static constexpr int kMaxHeadWords = kMaxHeadDim / kWordFloats;
static constexpr int kWordSteps = kWordFloats / kAttentionUnits;  // cycles in which the units take one word

static_assert(kWordSteps * kAttentionUnits == kWordFloats, "a word is a whole number of steps");
static_assert(kWordSteps * kScorePositions >= kFaddLatency,
              "a partial sum of a score must be ready when its position's turn comes again");
static_assert(kWordSteps * kColumnInterval >= kFaddLatency,
              "an element of the output must be ready when the next word of its column comes");
static_assert(kMinHeadDim / kAttentionUnits >= kFaddLatency,
              "an element of the output must be ready when the next position comes");
static_assert(numerics::kLanes == kWordFloats, "a word feeds each partial sum once");

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
inline void Rotate(Stream<Word>& rotary, Stream<Word>& k_in, Stream<Word>& q_in, int32_t n_heads, int32_t n_kv_heads,
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
inline void PairKeys(Stream<Word>& in, int32_t pos, int32_t n_heads, int32_t head_dim, Stream<Word>& out) {
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
inline void ScoreHead(const Word q[kMaxHeadWords], Stream<Word>& keys, int32_t pos, int32_t head_words,
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

inline void Score(Stream<Word>& q_in, Stream<Word>& keys, int32_t pos, int32_t n_heads, int32_t head_dim,
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
inline void Fold(Stream<Word>& partial_sums, int32_t pos, int32_t n_heads, Stream<float>& scores) {
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
inline void Softmax(Stream<float>& scores_in, int32_t pos, int32_t n_heads, Stream<float>& weights,
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
inline void Scale(const float acc[kMaxHeadDim], float inverse_sum, int32_t head_words, Stream<Word>& out) {
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
inline void WeighRows(Stream<Word>& values, Stream<float>& weights, int32_t pos, int32_t head_words,
                      float acc[kMaxHeadDim]) {
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
inline void WeighColumns(Stream<Word>& values, Stream<float>& weights_in, int32_t pos, int32_t head_words,
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

}  // namespace attention
}  // namespace hls
}  // namespace phidias
