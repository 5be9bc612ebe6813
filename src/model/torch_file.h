#pragma once

#include <string>

#include "common/status.h"
#include "model/tensor_store.h"

namespace phidias {

// Reads a file by torch.save (PyTorch >= 1.6: an uncompressed zip with data.pkl and one entry per storage) holding a
// dict from names to tensors, at top level or under "state_dict" / "model" / "module". The pickle is interpreted by a
// machine that can build dicts, lists, tuples, numbers, strings and tensors and nothing else: any other global, and any
// opcode that could call one, is refused with its name, never executed. Strides and storage offsets are honoured; a
// tensor that isn't contiguous is copied, the others stay in the mapped file.
Result<TensorStore> ReadTorchFile(const std::string& path);

// Reads `index_path` (pytorch_model.bin.index.json) and its shards, with the rules of ReadSafetensorsIndex.
Result<TensorStore> ReadTorchIndex(const std::string& index_path);

}  // namespace phidias
