// What xrt_card.h is in a program that was built without XRT.

#include "backend/fpga/xrt_card.h"

namespace phidias::fpga {
namespace {

Status Absent() {
  return NotFound(
      "this program was built without XRT, the Xilinx runtime, so there are no FPGA devices: install it (Debian: "
      "libxrt-dev), then configure and build again");
}

}  // namespace

std::string XrtVersion() {
  return "";
}
Result<std::vector<XrtDeviceInfo>> ListXrtDevices() {
  return Absent();
}
Result<XclbinInfo> ReadXclbin(const std::string&) {
  return Absent();
}
Result<std::unique_ptr<CardDevice>> OpenXrtCard(const XrtCardOptions&) {
  return Absent();
}

}  // namespace phidias::fpga
