#pragma once

#include <memory>
#include <vector>

#include "backend/backend.h"
#include "backend/fpga/card_device.h"
#include "backend/fpga/placement.h"

namespace phidias::fpga {

// Room for KV caches in the banks of one of attention's ports.
struct KvRoom {
  BankRange banks;
  std::vector<int64_t> free;  // bytes, per bank
};

// Keys and values of a sequence: on the card, one buffer each per layer; or, where attention is the host's,
// [layers, positions, n_kv_heads * head_dim] in the host's memory.
class CardKvStore final : public KvStore {
 public:
  struct Layer {
    BufferId keys{};
    BufferId values{};
  };

  // The room that the buffers were taken from gets their bytes back.
  static Result<std::unique_ptr<KvStore>> OnCard(const ModelShape& shape, int64_t positions,
                                                 std::shared_ptr<CardDevice> card, std::shared_ptr<KvRoom> key_room,
                                                 std::shared_ptr<KvRoom> value_room);
  static Result<std::unique_ptr<KvStore>> OnHost(const ModelShape& shape, int64_t positions);
  ~CardKvStore() override;

  int64_t capacity() const override { return positions_; }
  int64_t bytes() const override { return bytes_; }

  // Differs for any two stores of a process, also where one took the other's place in memory.
  uint64_t serial() const { return serial_; }
  const Layer& OnCardLayer(int64_t layer) const { return layers_[static_cast<size_t>(layer)]; }
  float* HostKeys(int64_t layer) { return host_.get() + 2 * layer * layer_floats_; }
  float* HostValues(int64_t layer) { return HostKeys(layer) + layer_floats_; }

 private:
  CardKvStore(int64_t positions, int64_t bytes);
  Status TakeBuffers(const ModelShape& shape);

  uint64_t serial_;
  int64_t positions_;
  int64_t bytes_;
  int64_t layer_floats_ = 0;
  std::unique_ptr<float[]> host_;  // left uninitialised: pages are touched when positions are

  std::shared_ptr<CardDevice> card_;
  std::shared_ptr<KvRoom> key_room_;
  std::shared_ptr<KvRoom> value_room_;
  int64_t layer_bytes_ = 0;
  std::vector<Layer> layers_;
  // What to give back: buffers and the index of the bank in the room.
  struct Taken {
    BufferId buffer;
    KvRoom* room;
    size_t bank;
  };
  std::vector<Taken> taken_;
};

}  // namespace phidias::fpga
