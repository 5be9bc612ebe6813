// `phidias simulate`: its fields, and what it refuses.

#include "tests/cli/cli_test_util.h"

namespace phidias::testing {
namespace {

TEST(Simulate, FieldsOfBothDesigns) {
  for (const char* design : {"report", "tiled"}) {
    const nlohmann::json json =
        JsonOutput({"simulate", "--shape", "phi-2", "--design", design, "--context", "512", "--fast", "--json"});
    EXPECT_EQ(json["design"], design);
    EXPECT_EQ(json["basis"], "modelled");
    for (const char* name :
         {"decode_tokens_per_second", "prefill_tokens_per_second", "tokens_per_joule", "board_watts"}) {
      const std::string low = std::string(name) + "_low";
      const std::string high = std::string(name) + "_high";
      EXPECT_LT(json[low], json[name]) << name;
      EXPECT_GT(json[high], json[name]) << name;
    }
    EXPECT_LT(json["hbm_gb_per_second"], json["hbm_peak_gb_per_second"]);
    EXPECT_GT(json["board_watts"], json["chip_watts"]);
    for (const char* part : {"kernels", "layer", "host", "residual"}) {
      EXPECT_TRUE(json["seconds_per_token"].contains(part)) << part;
    }
    EXPECT_EQ(json["resources"]["regions"].size(), 3U);
  }
}

TEST(Simulate, EventsTellWhereTimeGoes) {
  const nlohmann::json json =
      JsonOutput({"simulate", "--shape", Tiny(), "--design", "report", "--context", "3", "--json"});
  EXPECT_GT(json["events"], 1000);
  EXPECT_EQ(json["time"]["banks"].size(), 32U);
  EXPECT_FALSE(json["time"]["stages"].empty());
}

TEST(Simulate, SettingsMatter) {
  const auto decode = [](std::vector<std::string> more) {
    std::vector<std::string> arguments = {"simulate", "--shape", "phi-2", "--design", "tiled", "--fast", "--json"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return JsonOutput(arguments)["decode_tokens_per_second"].get<double>();
  };
  const double usual = decode({});
  EXPECT_LT(decode({"--set", "lm_head_bits=16"}), usual);
  EXPECT_LT(decode({"--set", "mhz=200"}), usual);
  EXPECT_LT(decode({"--set", "hbm_rfc_ns=400", "--set", "outside_us=500"}), usual);
  EXPECT_LT(decode({"--context", "2000"}), usual);
  EXPECT_GT(decode({"--weights-bits", "4"}), 1.7 * usual);
  EXPECT_EQ(decode({"--weights-bits", "4"}), decode({"--set", "weight_bits=4"}));
}

TEST(Simulate, Refusals) {
  const auto refused = [](std::vector<std::string> more, int code, const char* message) {
    std::vector<std::string> arguments = {"simulate", "--shape", "phi-2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    ExpectFailure(arguments, code, message);
  };
  refused({"--design", "x"}, 2, "no such design");
  refused({"--set", "speed=1"}, 2, "there is no such parameter");
  refused({"--set", "hbm_path_ns=-1"}, 2, "out of range");
  refused({"--set", "tiles=16"}, 2, "a constant of the design `tiled`");
  refused({"--design", "tiled", "--set", "tiles=24"}, 2, "doesn't divide into 24 tiles");
  refused({"--design", "tiled", "--set", "tiles=48"}, 4, "32 HBM masters");
  refused({"--design", "tiled", "--set", "weight_fifo=32768"}, 4, "URAM");
  refused({"--weights-bits", "4"}, 2, "design report multiplies int8");
  refused({"--weights-bits", "5"}, 2, "--weights-bits");
  refused({"--context", "2048"}, 2, "at most 2047");
  refused({"--card", "u55c"}, 3, "is placed for");
  ExpectFailure({"simulate", "--shape", "phi-9"}, 2, "no shape that is known by name");
  ExpectFailure({"simulate"}, 2, "--shape is missing");
}

TEST(Simulate, ParametersAndValidation) {
  EXPECT_NE(Output({"simulate", "--parameters"}).find("hbm_refi_ns"), std::string::npos);
  const std::string table = Output({"simulate", "--validate"});
  EXPECT_NE(table.find("fc1, four banks x 512 bits"), std::string::npos);
  EXPECT_EQ(table.find(" NO\n"), std::string::npos) << table;
}

TEST(Explore, FrontAndPage) {
  const std::string page = ::testing::TempDir() + "explore.html";
  const std::string table = Output({"explore", "--shape", "phi-2", "--html", page});
  EXPECT_NE(table.find("32 tiles, T 4"), std::string::npos);
  std::ifstream file(page);
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_NE(text.str().find("Roofline"), std::string::npos);
  EXPECT_EQ(text.str().find("http://"), std::string::npos) << "works offline";
  EXPECT_EQ(text.str().find("<script"), std::string::npos);
  const nlohmann::json json = JsonOutput({"explore", "--shape", "phi-2", "--card", "u55c", "--json"});
  EXPECT_EQ(json["designs"].size(), 3840U);
  ExpectFailure({"explore"}, 2, "--shape is missing");
  ExpectFailure({"explore", "--shape", "phi-2", "--context", "4000"}, 2, "at most 2047");
}

}  // namespace
}  // namespace phidias::testing
