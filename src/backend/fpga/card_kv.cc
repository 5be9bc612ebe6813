#include "backend/fpga/card_kv.h"

#include <atomic>
#include <new>
#include <utility>

namespace phidias::fpga {
namespace {

std::atomic<uint64_t> next_serial{1};

}  // namespace

CardKvStore::CardKvStore(int64_t positions, int64_t bytes)
    : serial_(next_serial.fetch_add(1)), positions_(positions), bytes_(bytes) {}

Result<std::unique_ptr<KvStore>> CardKvStore::OnHost(const ModelShape& shape, int64_t positions) {
  const int64_t layer_floats = positions * shape.n_kv_heads * shape.head_dim;
  const int64_t floats = 2 * shape.n_layers * layer_floats;
  std::unique_ptr<CardKvStore> store(new CardKvStore(positions, floats * static_cast<int64_t>(sizeof(float))));
  store->layer_floats_ = layer_floats;
  store->host_.reset(new (std::nothrow) float[static_cast<size_t>(floats)]);
  if (store->host_ == nullptr) {
    return ResourceExhausted("no memory for a KV cache of ", positions, " positions (",
                             HumanBytes(static_cast<uint64_t>(store->bytes_)), "); use a smaller context (-c)");
  }
  return std::unique_ptr<KvStore>(std::move(store));
}

Result<std::unique_ptr<KvStore>> CardKvStore::OnCard(const ModelShape& shape, int64_t positions,
                                                     std::shared_ptr<CardDevice> card, std::shared_ptr<KvRoom> key_room,
                                                     std::shared_ptr<KvRoom> value_room) {
  const int64_t layer_bytes = KvLayerBytes(shape, positions);
  std::unique_ptr<CardKvStore> store(new CardKvStore(positions, 2 * shape.n_layers * layer_bytes));
  store->card_ = std::move(card);
  store->key_room_ = std::move(key_room);
  store->value_room_ = std::move(value_room);
  store->layer_bytes_ = layer_bytes;
  RETURN_IF_ERROR(store->TakeBuffers(shape));
  return std::unique_ptr<KvStore>(std::move(store));
}

Status CardKvStore::TakeBuffers(const ModelShape& shape) {
  layers_.resize(static_cast<size_t>(shape.n_layers));
  for (const bool keys : {true, false}) {
    KvRoom& room = keys ? *key_room_ : *value_room_;
    ASSIGN_OR_RETURN(const std::vector<int> banks, PlaceKvLayers(shape, room.banks, room.free, positions_));
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      ASSIGN_OR_RETURN(const BufferId buffer,
                       card_->Allocate(BankTag(room.banks.memory, banks[layer]), layer_bytes_,
                                       StrCat(keys ? "keys" : "values", " of layer ", layer), /*card_only=*/true));
      (keys ? layers_[layer].keys : layers_[layer].values) = buffer;
      const auto bank = static_cast<size_t>(banks[layer] - room.banks.first);
      room.free[bank] -= layer_bytes_;
      taken_.push_back({buffer, &room, bank});
    }
  }
  return {};
}

CardKvStore::~CardKvStore() {
  for (const Taken& taken : taken_) {
    card_->Free(taken.buffer);
    taken.room->free[taken.bank] += layer_bytes_;
  }
}

}  // namespace phidias::fpga
