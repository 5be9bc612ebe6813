// A tile of the design `tiled`, hls/tiled_kernels.h.
//
//   words_in -> Route -- weights --> Multiply -- sums --> Requantize -- scored --> KeepResults -- results --> Ring ->
//   ring_out
//                 |-- factors ------------------------------^  |  qkv                         ^  ^        |  <- ring_in
//                 '-- attention --> Attend <-------------------'                               |  '------- inputs ->
//                 Multiply
//                                    |'- attended ----------------------------------------------
//                                    '-- kept --> KeepGroups -> groups_out

#include "hls/tiled_kernels.h"

#include "hls/tiled_attention_stages.h"
#include "hls/tiled_choose_stages.h"
#include "hls/tiled_linear_stages.h"
#include "hls/tiled_tile_stages.h"

namespace phidias {
namespace hls {
namespace tiled {
namespace {

void Tile(Stream<Beat>& words_in, Stream<NarrowBeat>& groups_out, Stream<Beat>& ring_in, Stream<Beat>& ring_out) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<int32_t, kHeaderDepth> multiply_headers("multiply_headers");
  Stream<int32_t, kHeaderDepth> requantize_headers("requantize_headers");
  Stream<int32_t, kHeaderDepth> attend_headers("attend_headers");
  Stream<int32_t, kHeaderDepth> ring_headers("ring_headers");
  Stream<int32_t, kHeaderDepth> keep_headers("keep_headers");
  Stream<int32_t, kHeaderDepth> choose_headers("choose_headers");
  Stream<Word, kPrefetchDepth> weights("weights");
  Stream<Word, kConstantsDepth> factors("factors");
  Stream<Word, kKvPrefetchDepth> attention("attention");
  Stream<Part, kInputsDepth> inputs("inputs");
  Stream<Part, kTileFifoDepth> input_sums("input_sums");
  Stream<Part, kTileFifoDepth> rotary("rotary");
  Stream<Word, kTileFifoDepth> sums("sums");
  Stream<int32_t, kTileFifoDepth> qkv("qkv");
  Stream<Part, kTileFifoDepth> scored("scored");
  Stream<Word, kResultsDepth> results("results");
  Stream<Word, kTileFifoDepth> attended("attended");
  Stream<Part, kTileFifoDepth> kept("kept");
  PHIDIAS_STORAGE(weights, fifo, uram)
  PHIDIAS_STORAGE(inputs, fifo, uram)
  PHIDIAS_STORAGE(factors, fifo, lutram)
  PHIDIAS_STORAGE(attention, fifo, bram)
  PHIDIAS_STORAGE(results, fifo, bram)
  PHIDIAS_STAGE(Route(words_in, multiply_headers, requantize_headers, attend_headers, ring_headers, keep_headers,
                      choose_headers, weights, factors, attention));
  PHIDIAS_STAGE(Ring(ring_headers, ring_in, results, attended, inputs, input_sums, rotary, ring_out));
  PHIDIAS_STAGE(Multiply(multiply_headers, inputs, weights, sums));
  PHIDIAS_STAGE(Requantize(requantize_headers, sums, factors, input_sums, qkv, scored));
  PHIDIAS_STAGE(KeepResults(choose_headers, scored, results));
  PHIDIAS_STAGE(Attend(attend_headers, rotary, qkv, attention, kept, attended));
  PHIDIAS_STAGE(KeepGroups(keep_headers, kept, groups_out));
  PHIDIAS_RUN;
}

}  // namespace
}  // namespace tiled
}  // namespace hls
}  // namespace phidias

extern "C" void tiled_tile(hls::stream<TiledBeat>& words_in, hls::stream<TiledNarrowBeat>& groups_out,
                           hls::stream<TiledBeat>& ring_in, hls::stream<TiledBeat>& ring_out) {
// clang-format off
#pragma HLS interface mode=axis port=words_in
#pragma HLS interface mode=axis port=groups_out
#pragma HLS interface mode=axis port=ring_in
#pragma HLS interface mode=axis port=ring_out
#pragma HLS interface mode=ap_ctrl_none port=return
  // clang-format on
  PHIDIAS_TOP("tiled_tile");
  phidias::hls::tiled::Tile(words_in, groups_out, ring_in, ring_out);
}
