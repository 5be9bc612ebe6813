#pragma once

#include <cstdint>

#include "hls/design.h"

// The constants of the FPGA design `tiled`, beside hls/design.h: the model's heads over tiles, each with a channel of
// HBM of its own, all arithmetic in integers (docs/numerics.md). C++14 without a library, as the kernels are.
namespace phidias {
namespace hls {
namespace tiled {

// --- the tile ---

static constexpr int kTileRows = 16;   // rows of a weight matrix that a beat holds
static constexpr int kTileInputs = 4;  // inputs of each: a beat is 16 rows x 4 inputs, 64 products a cycle and lane
// Of 4-bit weights a beat is 16 rows x 8 inputs: two beats' products. A unit of inputs has one multiplier a row
// (numerics/int4.h), and the multipliers of a block of units fill the word that comes before the block's beats.
static constexpr int kI4Inputs = 2 * kTileInputs;
static constexpr int kUnitInputs = 32;
static constexpr int kUnitBeats = kUnitInputs / kI4Inputs;
static constexpr int kBlockUnits = kWordBytes / kTileRows;
static constexpr int kBlockBeats = kBlockUnits * kUnitBeats;
static constexpr int kLanes = 4;              // tokens that share a pass over the weights, at most
static constexpr int kHeadRows = kLanes / 2;  // of them in one sweep of lm_head, whose int16 inputs are two planes
static constexpr int kKvGroup = 4;            // positions in a group of the KV cache: what is read and written at once
static constexpr int kAttendBytes = 16;       // of a position's keys or values that the attention takes in a cycle
static constexpr int kCandidates = 64;        // best logits of a row that leave the card
static constexpr int kNoCandidate = 0x7fffffff;  // an id that no token has

static_assert(kTileRows * kTileInputs == kWordBytes, "a beat is 16 rows x 4 inputs");
static_assert(kTileRows == kWordFloats, "a group's sums leave in one word");
static constexpr int kScaleRows = 8;  // of a unit's sums, that are scaled in a cycle
static_assert(kUnitBeats >= 2 * kTileRows / kScaleRows, "a unit's sums are scaled while the next unit computes");
static_assert(kKvGroup * kAttendBytes == kWordBytes, "a word has a chunk of each of a group's positions");
static_assert(kHeadRows * 64 <= 128, "the input sums of a sweep's rows fill at most a part of a word");
static_assert(kLanes <= kKvGroup, "a pass writes one group of the KV cache");

// --- sizes that on-chip buffers are made for; a host refuses a model that exceeds one ---

static constexpr int kMaxTiles = 32;
static constexpr int kMaxTileInputs = 16384;  // K of a linear layer, the tiles' paddings included
static constexpr int kMaxTileElements = 384;  // heads of a tile x head_dim
static constexpr int kMaxTileHeads = 8;       // heads of a tile
static constexpr int kMaxTileBytes = kMaxTileElements + kMaxTileHeads * kAttendBytes;  // heads in whole chunks
static constexpr int kMaxTileScores = 8192;   // heads of a tile x lanes x positions, in whole groups
static constexpr int kMaxTileKvWords = 1024;  // of the KV groups that a pass writes: layers x heads x 2 x words
static constexpr int kMaxRotaryWords = 8;     // of one position

// --- stream depths, in elements ---

static constexpr int kNarrowBits = 64;     // of the stream of KV groups from a tile to its memory unit
static constexpr int kUnitFifoDepth = 16;  // between compute units: registers at region crossings, and some slack
// Between a tile's stages: 16 places of a shift register take half of a LUT.
static constexpr int kTileFifoDepth = 16;
// Bursts of 64 beats under way in a memory unit (num_read_outstanding of its port): 32 KiB, where 8 KiB cover the
// latency, as deep as the block RAM of 512 bits is that holds them.
static constexpr int kReadBursts = 8;
// Weights that wait before the MAC array: as deep as the eight URAM are that 512 bits take, 19 us of a channel.
static constexpr int kPrefetchDepth = 4096;
static constexpr int kKvPrefetchDepth = 512;  // keys and values, while the softmax computes
// Inputs of the MAC array wait, and lie, in parts of 128 bits: a whole word would take four times the URAM, of which
// three quarters of the depth would be empty. An array fills at a quarter of a word a cycle.
static constexpr int kPartBits = 128;
static constexpr int kPartBytes = kPartBits / 8;
static constexpr int kParts = kWordBits / kPartBits;
static constexpr int kPartFields = kPartBits / 32;
// One whole message of activations fits: a broadcast never waits for a product that still computes (the ring would stop
// the results that the product waits to get rid of).
static constexpr int kInputsDepth = kLanes * kMaxTileInputs / kPartBytes;
// fc2's results wait until the attention's have gone round the ring, whose values come between fc2's weights.
static constexpr int kResultsDepth = kLanes * kMaxTileElements / kTileRows;
static constexpr int kConstantsDepth = 64;  // requantising, ahead of the sums
static constexpr int kHeaderBits = 32;      // of the streams that carry headers alone
static constexpr int kPassFields = 28;      // of a header, integer by integer
static constexpr int kHeaderDepth = 64;     // two passes' fields
static_assert(2 * kPassFields <= kHeaderDepth, "a stage may be a pass behind");

// --- a pass: one walk over the weights for up to kLanes tokens of one sequence ---

// What the sequencer knows of a pass, as 32-bit integers; the model's stand at the same places of the tables' first
// word. What follows from them it computes once (Pass, hls/tiled_plan.h), and every unit gets all of it first, as the
// pass's header, integer by integer.
enum HeaderField {
  kOpcode = 0,
  kTile = 1,  // which tile: each memory unit passes the header on with one more
  kTiles = 2,
  kTokens = 3,     // 1..kLanes lanes in use
  kPosition = 4,   // of lane 0; lanes are consecutive, all in one KV group
  kKvBase = 5,     // the sequence's KV region in every channel, in words
  kKvGroups = 6,   // groups that it has room for, per layer, head, and keys or values
  kLogitMask = 7,  // bit l: lane l's logits are wanted
  kLogitKind = 8,  // LogitKind, plus 2 times the ids that may be candidates, from 0 (0: all)
  kLayers = 9,
  kHidden = 10,
  kIntermediate = 11,
  kHeads = 12,  // of a tile
  kHeadDim = 13,
  kRotaryDim = 14,
  kVocab = 15,  // vocabulary, times 8, plus 4 if the layers' weights have 4 bits, plus lm_head's planes (1 or 2)
};
static constexpr int kVocabShift = 3;
static constexpr int kI4Flag = 4;
constexpr int32_t VocabField(int64_t vocab, bool int4, int planes) {
  return static_cast<int32_t>((vocab << kVocabShift) + (int4 ? kI4Flag : 0) + planes);
}
static constexpr int kHeaderFields = 16;
enum Opcode { kStop = 0, kPass = 1, kGenerate = 2 };
enum LogitKind { kAllLogits = 0, kBestLogits = 1 };

// --- the command ring: 32-bit integers in the host's memory, which the running sequencer polls ---
//
// First the layout that the sequencer has, said before it waits for a command. Then commands in slots of kSlotFields,
// results in as many behind them, then what kGenerate looks at: ids that it never chooses (their count first), how it
// samples, and the sequence of a command that is to end before its time; then what it chooses, one integer each:
// id + 1, and 0 where there is nothing yet. The n-th command (from 0) lies in slot n % kSlots and has sequence n + 1;
// whoever writes a slot writes its sequence last. The host uses a slot again when its result is there.

// Of everything that host and kernels must agree on: this header, hls/tiled_plan.h, hls/tiled_layout.h and
// backend/fpga/tiled_packer.cc. Raised with any of them, so that a card built from other sources is refused instead of
// giving wrong text. Its place in the ring stays.
static constexpr int32_t kLayoutVersion = 3;
static constexpr int kLayoutAt = 0;
static constexpr int kSlots = 8;
static constexpr int kSlotFields = 16;
static constexpr int kCommandsAt = kSlotFields;
static constexpr int kResultsAt = kCommandsAt + kSlots * kSlotFields;
static constexpr int kBannedAt = kResultsAt + kSlots * kSlotFields;
static constexpr int kMaxBanned = kCandidates - 1;  // so that one of the candidates may be chosen
static constexpr int kSamplingAt = kBannedAt + kCandidates;
static constexpr int kSamplingFields = 16;
static constexpr int kHaltAt = kSamplingAt + kSamplingFields;
static constexpr int kGeneratedAt = kHaltAt + 1;
static constexpr int kMaxGenerated = kMaxPositions;
static constexpr int kRingFields = kGeneratedAt + kMaxGenerated;

enum CommandField {
  kCommandSequence = 0,
  kCommandOpcode = 1,
  kCommandTokens = 2,  // how many of the ids below; one for kGenerate
  kCommandPosition = 3,
  kCommandKvBase = 4,
  kCommandKvGroups = 5,
  kCommandLogitMask = 6,
  kCommandLogitKind = 7,
  kCommandToken0 = 8,  // kLanes ids
  kCommandCount = 12,  // kGenerate: tokens to choose, at most
  kCommandEnd = 13,    // kGenerate: ends after this one; -1: none does
};
// numerics::SampleRule and DrawKey, floats as their bits; the draw is that of the token's position.
enum SamplingField {
  kSamplingTemperature = 0,
  kSamplingTopK = 1,  // 1..kCandidates less the banned ids, unless the temperature is 0
  kSamplingTopP = 2,
  kSamplingMinP = 3,
  kSamplingSeed = 4,    // low word, high word
  kSamplingStream = 6,  // likewise
};
enum ResultField {
  kResultSequence = 0,
  kResultSaturated = 1,  // residuals that had to be clamped by this command
  kResultGenerated = 2,  // tokens chosen by kGenerate
};

// --- the sequencer's tables: words of 512 bits ---

// Fields of their first word, 32-bit integers. The model's are a header's, from kLayers to kVocab.
enum TableField {
  kTableTiles = 0,
  kTableEmbedding = 1,  // first word of the embedding, rows of the vocabulary in steps of the residual stream
  kTableRotary = 2,     // of the rotary table, positions
  kTableNorms = 3,      // of the LayerNorms' constants, layers and the final one
};

// --- kernels and their arguments (hls/tiled_kernels.h) ---

static constexpr KernelArg kTiledSequencerArgs[] = {
    {"tables", "ap_uint<512>*", "gmem_t", ArgKind::kRead},
    {"ring", "uint32_t*", "gmem_r", ArgKind::kUpdate},
    {"logits", "ap_uint<512>*", "gmem_l", ArgKind::kWrite},
    {"headers_out", "hls::stream<TiledHeaderBeat>&", "", ArgKind::kStreamOut},
    {"headers_in", "hls::stream<TiledHeaderBeat>&", "", ArgKind::kStreamIn},
    {"tables_out", "hls::stream<TiledBeat>&", "", ArgKind::kStreamOut},
    {"results_in", "hls::stream<TiledBeat>&", "", ArgKind::kStreamIn},
};
static constexpr KernelArg kTiledCoreArgs[] = {
    {"tables_in", "hls::stream<TiledBeat>&", "", ArgKind::kStreamIn},
    {"ring_in", "hls::stream<TiledBeat>&", "", ArgKind::kStreamIn},
    {"ring_out", "hls::stream<TiledBeat>&", "", ArgKind::kStreamOut},
    {"results_out", "hls::stream<TiledBeat>&", "", ArgKind::kStreamOut},
};
static constexpr KernelArg kTiledMemoryArgs[] = {
    {"channel", "ap_uint<512>*", "gmem_c", ArgKind::kUpdate},
    {"headers_in", "hls::stream<TiledHeaderBeat>&", "", ArgKind::kStreamIn},
    {"headers_out", "hls::stream<TiledHeaderBeat>&", "", ArgKind::kStreamOut},
    {"words_out", "hls::stream<TiledBeat>&", "", ArgKind::kStreamOut},
    {"groups_in", "hls::stream<TiledNarrowBeat>&", "", ArgKind::kStreamIn},
};
static constexpr KernelArg kTiledTileArgs[] = {
    {"words_in", "hls::stream<TiledBeat>&", "", ArgKind::kStreamIn},
    {"groups_out", "hls::stream<TiledNarrowBeat>&", "", ArgKind::kStreamOut},
    {"ring_in", "hls::stream<TiledBeat>&", "", ArgKind::kStreamIn},
    {"ring_out", "hls::stream<TiledBeat>&", "", ArgKind::kStreamOut},
};

static constexpr KernelDesign kTiledKernels[] = {
    MakeKernel("tiled_sequencer", "tiled_sequencer.cc", kTiledSequencerArgs),
    MakeKernel("tiled_core", "tiled_core.cc", kTiledCoreArgs),
    MakeKernel("tiled_memory", "tiled_memory.cc", kTiledMemoryArgs),
    MakeKernel("tiled_tile", "tiled_tile.cc", kTiledTileArgs),
};

// --- the design ---

// Where it is linked: the memory units and the sequencer lie in region 0, where HBM and the host are; of 32 tiles so
// many lie in each region, and the core in another, by what the kernels take of each and by the wires that cross
// (sim/resources.h chooses; the link file's linter counts). One description for link files and model.
static constexpr const char* kTiledPlatform = "xilinx_u280_gen3x16_xdma_1_202211_1";
static constexpr int kTiledMhz = 240;
static constexpr int kRegions = 3;
static constexpr int kTilesOfRegion[kRegions] = {10, 10, 12};
static constexpr int kCoreRegion = 1;

// Fewer tiles: regions fill up in order, each with its share.
constexpr int TileRegion(int tile, int tiles) {
  return tile * kMaxTiles < kTilesOfRegion[0] * tiles                         ? 0
         : tile * kMaxTiles < (kTilesOfRegion[0] + kTilesOfRegion[1]) * tiles ? 1
                                                                              : 2;
}

}  // namespace tiled
}  // namespace hls
}  // namespace phidias
