#include "sim/parameters.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "sim/prediction.h"

namespace phidias::sim {
namespace {

TEST(Parameters, EachHasARangeAroundItsValueAndASource) {
  const Parameters defaults;
  std::set<std::string> names;
  for (const ParameterInfo& info : AllParameters()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name;
    EXPECT_LE(info.low, defaults.*info.field) << info.name;
    EXPECT_GE(info.high, defaults.*info.field) << info.name;
    EXPECT_LE(info.least, info.low) << info.name;
    EXPECT_GE(info.most, info.high) << info.name;
    EXPECT_GT(std::string(info.source).size(), 6U) << info.name;
  }
  EXPECT_EQ(names.size() * sizeof(double), sizeof(Parameters)) << "every field has its row";
}

TEST(Parameters, Set) {
  Parameters parameters;
  EXPECT_TRUE(SetParameter("hbm_path_ns=150", &parameters).ok());
  EXPECT_EQ(parameters.hbm_path_ns, 150);
  const auto message = [&parameters](const char* text) { return SetParameter(text, &parameters).message(); };
  EXPECT_NE(message("hbm_path=1").find("there is no such parameter; there are: hbm_peak_gbs"), std::string::npos);
  EXPECT_NE(message("hbm_path_ns=x").find("not a number"), std::string::npos);
  EXPECT_NE(message("hbm_path_ns=1e9").find("out of range, from 0 to 2000 ns"), std::string::npos);
  EXPECT_NE(message("hbm_path_ns=nan").find("not a number"), std::string::npos);
  EXPECT_NE(message("hbm_path_ns").find("NAME=VALUE"), std::string::npos);
  EXPECT_EQ(parameters.hbm_path_ns, 150);
}

TEST(Parameters, TiledConstants) {
  TiledDesign design;
  EXPECT_TRUE(*SetTiledConstant("tiles=16", &design));
  EXPECT_EQ(design.tiles, 16);
  EXPECT_EQ(design.slr_tiles[0] + design.slr_tiles[1] + design.slr_tiles[2], 16);
  EXPECT_TRUE(*SetTiledConstant("kv_fifo=1024", &design));
  EXPECT_EQ(design.kv_fifo, 1024);
  EXPECT_FALSE(*SetTiledConstant("hbm_path_ns=1", &design));
  EXPECT_EQ(SetTiledConstant("tiles=99", &design).status().message(),
            "--set tiles=\"99\": a whole number from 1 to 64 is right");
  EXPECT_FALSE(SetTiledConstant("mhz", &design).ok());
}

}  // namespace
}  // namespace phidias::sim
