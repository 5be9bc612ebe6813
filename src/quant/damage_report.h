#pragma once

#include <string>

#include "quant/damage.h"

namespace phidias {

// What the pages say about where the numbers come from.
struct DamageFacts {
  std::string model;
  std::string scheme;  // DescribeScheme
  std::string data;
  int64_t probe_rows = 0;
  std::string probe_data;
};

std::string DamageMarkdown(const DamageResult& result, const DamageFacts& facts);
std::string DamageJson(const DamageResult& result, const DamageFacts& facts);
std::string DamageHtml(const DamageResult& result, const DamageFacts& facts);

}  // namespace phidias
