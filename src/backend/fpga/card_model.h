#pragma once

#include <memory>
#include <vector>

#include "backend/fpga/card_device.h"
#include "backend/fpga/packed_file.h"
#include "backend/fpga/placement.h"

namespace phidias::fpga {

// A packed model in a card's memory: one buffer per bank, cut into its items.
class CardModel {
 public:
  // Uploads `packed`, which belongs to `placement` and has passed its checksums.
  static Result<std::unique_ptr<CardModel>> Upload(std::shared_ptr<CardDevice> card, HbmPlacement placement,
                                                   PackedFile packed);
  ~CardModel();
  CardModel(const CardModel&) = delete;
  CardModel& operator=(const CardModel&) = delete;

  CardDevice& card() const { return *card_; }
  const std::shared_ptr<CardDevice>& shared_card() const { return card_; }
  const HbmPlacement& placement() const { return placement_; }
  // The item must be there: roles that are absent run on the host.
  BufferId Item(ItemKind kind, LinearRole role, int64_t layer, int slice) const;
  // The one bank that a port is wired to, as a tag.
  std::string PortBank(std::string_view unit, std::string_view argument) const;

 private:
  CardModel(std::shared_ptr<CardDevice> card, HbmPlacement placement, PackedFile packed)
      : card_(std::move(card)), placement_(std::move(placement)), packed_(std::move(packed)) {}

  std::shared_ptr<CardDevice> card_;
  HbmPlacement placement_;
  PackedFile packed_;               // the host's side of the buffers
  std::vector<BufferId> segments_;  // as placement_.segments
  std::vector<BufferId> items_;     // as placement_.items
};

}  // namespace phidias::fpga
