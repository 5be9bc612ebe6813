// CompareXclbin: needs nothing of XRT.

#include <algorithm>

#include "backend/fpga/xrt_card.h"

namespace phidias::fpga {

Status CompareXclbin(const XclbinInfo& found, const LinkFile& expected, const std::string& path) {
  const auto differs = [&](const auto&... parts) {
    return DataError(path, ": linked for another design: ", parts..., "; link it again from this design's link file");
  };
  if (found.platform != expected.platform) {
    return differs("its platform is ", Quoted(found.platform), ", expected ", Quoted(expected.platform));
  }
  for (const LinkUnit& unit : expected.units) {
    const auto same_unit = [&](const LinkUnit& candidate) { return candidate.unit == unit.unit; };
    const auto place = std::find_if(found.link.units.begin(), found.link.units.end(), same_unit);
    if (place == found.link.units.end()) {
      return differs("it has no compute unit ", unit.unit);
    }
    if (place->kernel != unit.kernel) {
      return differs("compute unit ", unit.unit, " is a ", Quoted(place->kernel), ", expected ", unit.kernel);
    }
  }
  for (const LinkPort& port : expected.ports) {
    const auto same_port = [&](const LinkPort& candidate) {
      return candidate.unit == port.unit && candidate.argument == port.argument;
    };
    const auto place = std::find_if(found.link.ports.begin(), found.link.ports.end(), same_port);
    if (place == found.link.ports.end()) {
      return differs("compute unit ", port.unit, " has no memory argument ", port.argument);
    }
    if (place->banks != port.banks) {
      return differs(port.unit, ".", port.argument, " is wired to ", ToString(place->banks), ", expected ",
                     ToString(port.banks));
    }
  }
  return {};
}

}  // namespace phidias::fpga
