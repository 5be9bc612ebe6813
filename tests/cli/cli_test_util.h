#pragma once

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace phidias::testing {

inline std::string Root() {
  return PHIDIAS_SOURCE_DIR;
}
inline std::string Demo() {
  return Root() + "/models/demo";
}
inline std::string Tiny() {
  return Root() + "/tests/golden/tiny-phi2";
}
inline std::string TinyInt8() {
  return Root() + "/tests/golden/tiny-phi2-int8";
}

// Whether the program was built with XRT, and so has an emulated card.
inline bool HasEmulatedCard() {
  struct stat info = {};
  const std::string program = PHIDIAS_PROGRAM;
  return stat((program.substr(0, program.rfind('/')) + "/u280-emu/report-f32.xclbin").c_str(), &info) == 0;
}

inline ProcessOptions Command(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), PHIDIAS_PROGRAM);
  ProcessOptions options;
  options.arguments = std::move(arguments);
  return options;
}

inline ProcessResult Phidias(std::vector<std::string> arguments, std::string input = "") {
  ProcessOptions options = Command(std::move(arguments));
  options.input = std::move(input);
  ProcessResult result = Process::Run(options);
  EXPECT_FALSE(result.timed_out);
  return result;
}

// stdout of a command that must succeed.
inline std::string Output(std::vector<std::string> arguments, std::string input = "") {
  const ProcessResult result = Phidias(std::move(arguments), std::move(input));
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return result.out;
}

inline nlohmann::json JsonOutput(std::vector<std::string> arguments, std::string input = "") {
  const std::string text = Output(std::move(arguments), std::move(input));
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << text;
  return json;
}

// A command that must fail: its exit code, nothing on stdout, and one line on stderr that holds `message`.
inline void ExpectFailure(std::vector<std::string> arguments, int exit_code, const std::string& message,
                          std::string input = "") {
  const std::string verb = arguments.empty() ? "" : arguments[0];
  const ProcessResult result = Phidias(std::move(arguments), std::move(input));
  EXPECT_EQ(result.exit_code, exit_code) << result.err;
  EXPECT_EQ(result.out, "");
  EXPECT_TRUE(result.err.starts_with("phidias")) << result.err;
  EXPECT_EQ(result.err.find('\n'), result.err.size() - 1) << result.err;
  EXPECT_NE(result.err.find(message), std::string::npos) << result.err;
}

inline std::string ReadText(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in.good()) << path;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

inline void WriteText(const std::string& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

inline nlohmann::json ReadJson(const std::string& path) {
  return nlohmann::json::parse(ReadText(path));
}

// An empty directory that goes away with the object.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string path = ::testing::TempDir() + "phidias-cli-XXXXXX";
    path_ = mkdtemp(path.data()) != nullptr ? path : "";
    EXPECT_NE(path_, "");
  }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;
  ~ScratchDirectory() { std::system(("rm -rf '" + path_ + "'").c_str()); }

  std::string File(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace phidias::testing
