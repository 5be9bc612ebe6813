#pragma once

// Cards through the Xilinx runtime's native C++ API: the only place that talks to XRT. Nothing here knows whether the
// card is real.

#include <memory>
#include <string>
#include <vector>

#include "backend/fpga/card_device.h"
#include "backend/fpga/link_file.h"
#include "common/status.h"

namespace phidias::fpga {

// One card that XRT sees.
struct XrtDeviceInfo {
  int index = 0;
  std::string shell;    // "xilinx_u280_gen3x16_xdma_base_1"; empty if it can't be opened
  std::string address;  // on the PCI bus; empty if XRT doesn't say
  std::string problem;  // why it can't be opened; empty if it can
};

// What an xclbin says about itself.
struct XclbinInfo {
  std::string platform;  // that it was linked for
  std::string uuid;
  LinkFile link;  // units and ports as they are; platform as above
};

struct XrtCardOptions {
  int index = 0;
  std::string xclbin;
  const LinkFile* expected = nullptr;  // refuse an xclbin that is wired otherwise; null: take any
};

// "2.13.0", the version of XRT that this program was built with; empty: it was built without.
std::string XrtVersion();

// Errors: this program was built without XRT.
Result<std::vector<XrtDeviceInfo>> ListXrtDevices();

// Errors: not an xclbin.
Result<XclbinInfo> ReadXclbin(const std::string& path);

// The first difference between what an xclbin is and what a design wants, as an error with `path`; OK if there is none.
Status CompareXclbin(const XclbinInfo& found, const LinkFile& expected, const std::string& path);

// Opens the card and loads the xclbin onto it. Errors: no XRT, no such card, not an xclbin or another design's, and
// whatever the driver says, with what to do about it.
Result<std::unique_ptr<CardDevice>> OpenXrtCard(const XrtCardOptions& options);

}  // namespace phidias::fpga
