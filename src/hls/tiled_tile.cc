// A tile of the design `tiled`, hls/tiled_kernels.h.
//
//   words_in -> Route -- weights --> Multiply -- sums --> Requantize -- scored --> Choose -- results --> Ring ->
//   ring_out
//                 |-- factors ------------------------------^  |  qkv                         ^  ^        |  <- ring_in
//                 '-- attention --> Attend <-------------------'                               |  '------- inputs ->
//                 Multiply
//                                    |'- attended ----------------------------------------------
//                                    '-- kept --> KeepGroups -> groups_out

#include "hls/tiled_kernels.h"

#include "hls/tiled_attention_stages.h"
#include "hls/tiled_candidate_stages.h"
#include "hls/tiled_linear_stages.h"
#include "hls/tiled_tile_stages.h"

namespace phidias {
namespace hls {
namespace tiled {
namespace {

void Tile(Stream<Beat>& words_in, Stream<NarrowBeat>& groups_out, Stream<Beat>& ring_in, Stream<Beat>& ring_out) {
#pragma HLS dataflow
  PHIDIAS_DATAFLOW;
  Stream<Word, kHeaderDepth> multiply_headers("multiply_headers");
  Stream<Word, kHeaderDepth> requantize_headers("requantize_headers");
  Stream<Word, kHeaderDepth> attend_headers("attend_headers");
  Stream<Word, kHeaderDepth> ring_headers("ring_headers");
  Stream<Word, kHeaderDepth> keep_headers("keep_headers");
  Stream<Word, kHeaderDepth> choose_headers("choose_headers");
  Stream<Word, kPrefetchDepth> weights("weights");
  Stream<Word, kConstantsDepth> factors("factors");
  Stream<Word, kKvPrefetchDepth> attention("attention");
  Stream<Word, kInputsDepth> inputs("inputs");
  Stream<Word, kStageFifoDepth> input_sums("input_sums");
  Stream<Word, kStageFifoDepth> rotary("rotary");
  Stream<Word, kStageFifoDepth> sums("sums");
  Stream<Word, kStageFifoDepth> qkv("qkv");
  Stream<Word, kStageFifoDepth> scored("scored");
  Stream<Word, kResultsDepth> results("results");
  Stream<Word, kStageFifoDepth> attended("attended");
  Stream<Word, kStageFifoDepth> kept("kept");
  PHIDIAS_STAGE(Route(words_in, multiply_headers, requantize_headers, attend_headers, ring_headers, keep_headers,
                      choose_headers, weights, factors, attention));
  PHIDIAS_STAGE(Ring(ring_headers, ring_in, results, attended, inputs, input_sums, rotary, ring_out));
  PHIDIAS_STAGE(Multiply(multiply_headers, inputs, weights, sums));
  PHIDIAS_STAGE(Requantize(requantize_headers, sums, factors, input_sums, qkv, scored));
  PHIDIAS_STAGE(Choose(choose_headers, scored, results));
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
