#include "backend/fpga/card_model.h"

#include <utility>

namespace phidias::fpga {

Result<std::unique_ptr<CardModel>> CardModel::Upload(std::shared_ptr<CardDevice> card, HbmPlacement placement,
                                                     PackedFile packed) {
  std::unique_ptr<CardModel> model(new CardModel(std::move(card), std::move(placement), std::move(packed)));
  const std::vector<Segment>& segments = model->placement_.segments;
  for (size_t i = 0; i < segments.size(); ++i) {
    const std::string bank = BankTag(segments[i].memory, segments[i].bank);
    ASSIGN_OR_RETURN(const BufferId buffer,
                     model->card_->Wrap(bank, model->packed_.Segment(i), StrCat("the packed model's part for ", bank)));
    model->segments_.push_back(buffer);
    RETURN_IF_ERROR(model->card_->ToCard(buffer));
  }
  for (const PlacedItem& item : model->placement_.items) {
    ASSIGN_OR_RETURN(const BufferId part,
                     model->card_->Part(model->segments_[static_cast<size_t>(item.segment)], item.offset, item.bytes));
    model->items_.push_back(part);
  }
  RETURN_IF_ERROR(model->packed_.CheckMapping());
  return model;
}

CardModel::~CardModel() {
  for (const BufferId item : items_) {
    card_->Free(item);
  }
  for (const BufferId segment : segments_) {
    card_->Free(segment);
  }
}

BufferId CardModel::Item(ItemKind kind, LinearRole role, int64_t layer, int slice) const {
  const PlacedItem* const item = placement_.Find(kind, role, layer, slice);
  return items_[static_cast<size_t>(item - placement_.items.data())];
}

std::string CardModel::PortBank(std::string_view unit, std::string_view argument) const {
  const BankRange& banks = *PortBanks(placement_.link, unit, argument);
  return BankTag(banks.memory, banks.first);
}

}  // namespace phidias::fpga
