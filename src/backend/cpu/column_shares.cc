#include "backend/cpu/column_shares.h"

#include <algorithm>

#include "backend/cpu/packed_s8.h"

namespace phidias::cpu {

void CutColumns(std::span<const ProductSize> products, int threads, std::vector<ColumnShare>* shares) {
  constexpr int64_t kPartsOfThread = 3;
  shares->clear();
  int64_t left = 0;  // multiplications of one row
  for (const ProductSize& product : products) {
    left += product.columns * product.k;
  }
  for (size_t i = 0; i < products.size(); ++i) {
    const ProductSize& product = products[i];
    const int64_t group = kGroupColumns * std::max<int64_t>(product.k, 1);
    for (int64_t begin = 0; begin < product.columns;) {
      const int64_t groups = std::max<int64_t>(left / (kPartsOfThread * threads * group), 1);
      const int64_t end = std::min(begin + groups * kGroupColumns, product.columns);
      shares->push_back({static_cast<int32_t>(i), begin, end});
      left -= (end - begin) * product.k;
      begin = end;
    }
  }
}

}  // namespace phidias::cpu
