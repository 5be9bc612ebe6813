// phidias devices: where models can run on this machine.

#include "backend/fpga/xrt_card.h"
#include "cli/exit_code.h"
#include "cli/flags.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "emu/emulated_card.h"

namespace phidias::cli {
namespace {

constexpr const char* kUsage = "phidias devices [OPTIONS]";
constexpr const char* kExamples =
    "Lists what --device takes. `phidias doctor` says what is wrong with a card that should be there.\n"
    "\n"
    "Examples:\n"
    "  phidias devices\n"
    "  phidias devices --json\n";

// One row: `index` is a card's for --card; `problem` is empty if the device can be used.
struct Device {
  std::string name;
  std::optional<int> index;
  std::string text;
  std::string address;
  std::string problem;
};

Result<Device> Cpu() {
  ASSIGN_OR_RETURN(const CpuSetup setup, ResolveCpuOptions({}));
  return Device{"cpu", {}, StrCat(setup.kernels->isa, ", ", setup.threads, " threads"), "", ""};
}

std::vector<Device> Cards() {
  const auto found = fpga::ListXrtDevices();
  if (!found.ok()) {
    return {{"u280", {}, "", "", found.status().message()}};
  }
  std::vector<Device> cards;
  for (const fpga::XrtDeviceInfo& info : *found) {
    cards.push_back({"u280", info.index, info.shell, info.address, info.problem});
  }
  if (cards.empty()) {
    cards.push_back({"u280", {}, "", "", StrCat("XRT ", fpga::XrtVersion(), " sees no card")});
  }
  return cards;
}

Device Emulated() {
  const Result<std::vector<std::string>> designs = emu::EmulatedXclbins();
  if (!designs.ok()) {
    return {"u280-emu", {}, "", "", designs.status().message()};
  }
  std::string text = "emulated, with";
  for (const std::string& design : *designs) {
    text += " " + design;
  }
  return {"u280-emu", {}, text, "", ""};
}

Json DeviceJson(const Device& device) {
  Json json = {{"device", device.name}, {"usable", device.problem.empty()}};
  if (device.index.has_value()) {
    json["card"] = *device.index;
  }
  const std::pair<const char*, const std::string*> texts[] = {
      {"description", &device.text}, {"address", &device.address}, {"problem", &device.problem}};
  for (const auto& [key, text] : texts) {
    if (!text->empty()) {
      json[key] = *text;
    }
  }
  return json;
}

std::string DeviceLine(const Device& device) {
  std::string line = device.name + (device.index.has_value() ? StrCat(" --card ", *device.index) : "");
  line.resize(std::max<size_t>(line.size() + 2, 18), ' ');
  line += device.text;
  if (!device.address.empty()) {
    line += " at " + device.address;
  }
  if (!device.problem.empty()) {
    line += (device.text.empty() ? "no: " : "; ") + device.problem;
  }
  return line + "\n";
}

Status Devices(bool json) {
  ASSIGN_OR_RETURN(const Device cpu, Cpu());
  std::vector<Device> devices = {cpu};
  for (const Device& card : Cards()) {
    devices.push_back(card);
  }
  devices.push_back(Emulated());
  if (json) {
    Json rows = Json::array();
    for (const Device& device : devices) {
      rows.push_back(DeviceJson(device));
    }
    return WriteStdout(JsonLine({{"xrt", fpga::XrtVersion()}, {"devices", rows}}, 2));
  }
  std::string text;
  for (const Device& device : devices) {
    text += DeviceLine(device);
  }
  return WriteStdout(text);
}

}  // namespace

int DevicesVerb(std::span<const std::string> arguments) {
  CLI::App app("Where models can run on this machine.", "phidias devices");
  bool json = false;
  app.add_flag("--json", json, "as one JSON object");
  SetHelp(app, kUsage, kExamples);
  if (const auto code = ParseArguments(app, "devices", arguments)) {
    return *code;
  }
  const Status status = Devices(json);
  return status.ok() ? kExitOk : Fail("devices", status);
}

}  // namespace phidias::cli
