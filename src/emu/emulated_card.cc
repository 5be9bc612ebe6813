#include "emu/emulated_card.h"

#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "common/file.h"

namespace phidias::emu {
namespace {

constexpr const char* kShim = "/xrt/lib/libxrt_core.so.2";

std::string Folder() {
  const char* const given = std::getenv("PHIDIAS_EMU_DIR");
  if (given != nullptr && *given != '\0') {
    return given;
  }
  char path[PATH_MAX];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string program(path, length > 0 ? static_cast<size_t>(length) : 0);
  program.resize(program.rfind('/') == std::string::npos ? 0 : program.rfind('/'));
  return program + "/u280-emu";
}

// The folder, if the shim is in it.
Result<std::string> FindCard() {
  const std::string folder = Folder();
  if (!FileExists(folder + kShim)) {
    return NotFound("the emulated card isn't here: no ", Quoted(folder + kShim),
                    "; it is built where Debian's libxrt-dev 2.13 is installed, and PHIDIAS_EMU_DIR says where it is");
  }
  return folder;
}

}  // namespace

Status EnableEmulatedCard() {
  ASSIGN_OR_RETURN(const std::string folder, FindCard());
  setenv("XILINX_XRT", (folder + "/xrt").c_str(), 1);
  unsetenv("XCL_EMULATION_MODE");  // would make XRT look for Vitis's own emulators
  return {};
}

Result<std::string> EmulatedXclbin(const std::string& name) {
  const std::string path = Folder() + "/" + name + ".xclbin";
  if (!FileExists(path)) {
    return NotFound("the emulated card has no design ", Quoted(name), ": no ", Quoted(path));
  }
  return path;
}

Result<std::vector<std::string>> EmulatedXclbins() {
  ASSIGN_OR_RETURN(const std::string folder, FindCard());
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    if (entry.path().extension() == ".xclbin") {
      names.push_back(entry.path().stem().string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string EmulatedCardReport() {
  using ReportFunction = size_t (*)(char*, size_t);
  const char* const root = std::getenv("XILINX_XRT");
  const std::string shim = std::string(root != nullptr ? root : "") + "/lib/libxrt_core.so.2";
  void* const handle = dlopen(shim.c_str(), RTLD_NOW | RTLD_NOLOAD);
  if (handle == nullptr) {
    return "";
  }
  std::string report;
  if (const auto function = reinterpret_cast<ReportFunction>(dlsym(handle, "phidias_emu_report"))) {
    report.resize(function(nullptr, 0) + 1);
    report.resize(std::min(function(report.data(), report.size()), report.size() - 1));
  }
  dlclose(handle);
  return report;
}

}  // namespace phidias::emu
