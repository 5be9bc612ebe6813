#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "common/status.h"
#include "model/files/tensor_store.h"

namespace phidias {

// Reads a file by torch.save (PyTorch >= 1.6: an uncompressed zip with data.pkl and one entry per storage) holding a
// dict from names to tensors, at top level or one level down under "state_dict", "model" or "module" (then whatever
// stands beside that key is ignored). The pickle is interpreted by a machine that can build dicts, lists, tuples,
// numbers, strings and tensors and nothing else: any other global, and any opcode that could call one, is refused with
// its name, never executed. Strides and storage offsets are honoured; a tensor that isn't contiguous is copied, the
// others stay in the mapped file. In the dict of tensors anything else is an error that names the key, except None and
// `..._extra_state`. Checksums: data.pkl's is checked, the storages' are not (that would read the whole file).
Result<TensorStore> ReadTorchFile(const std::string& path);

// The same over a file's bytes, which must outlive the result; `path` names them in messages.
Result<TensorStore> ReadTorchBytes(std::span<const std::byte> bytes, const std::string& path);

// Reads `index_path` (pytorch_model.bin.index.json) and its shards, with the rules of ReadSafetensorsIndex.
Result<TensorStore> ReadTorchIndex(const std::string& index_path);

}  // namespace phidias
