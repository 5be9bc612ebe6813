// phidias_link: link files from the design that the host uses, and xclbins for the emulated card from link files.
//
//   phidias_link config CARD LM_HEAD hw|hw_emu OUT      CARD: u280, u55c; LM_HEAD: f16, bf16, f32
//   phidias_link tiled TILES hw|hw_emu OUT              of the design `tiled`, for the u280
//   phidias_link lint LINK_FILE
//   phidias_link xclbin LINK_FILE KERNEL_LIBRARY OUT

#include <charconv>
#include <cstdio>
#include <string>
#include <vector>

#include "backend/fpga/placement.h"
#include "backend/fpga/tiled_link.h"
#include "common/file.h"
#include "emu/xclbin/xclbin.h"
#include "hls/tiled_design.h"

namespace phidias::emu {
namespace {

constexpr size_t kMaxLinkFile = size_t{1} << 20;
constexpr size_t kMaxLibrary = size_t{1} << 30;

Status WriteFile(const std::string& path, std::string_view bytes) {
  ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  RETURN_IF_ERROR(file.Write(bytes));
  return file.Commit();
}

Status WriteConfig(const std::string& card_name, const std::string& lm_head, const std::string& target,
                   const std::string& path) {
  const fpga::Card* const card = fpga::FindCard(card_name);
  if (card == nullptr || (target != "hw" && target != "hw_emu")) {
    return InvalidArgument("expected a card (u280 or u55c) and a target (hw or hw_emu)");
  }
  for (const auto type : {fpga::LmHeadType::kF16, fpga::LmHeadType::kBF16, fpga::LmHeadType::kF32}) {
    if (fpga::LmHeadTypeName(type) == lm_head) {
      ASSIGN_OR_RETURN(const fpga::LinkFile link,
                       fpga::RetargetLinkFile(fpga::DesignLinkFile(hls::kReportDesign, type), *card));
      return WriteFile(path,
                       fpga::WriteLinkFile(link, target == "hw" ? fpga::LinkTarget::kHw : fpga::LinkTarget::kHwEmu));
    }
  }
  return InvalidArgument("expected a type of lm_head's weights: f16, bf16 or f32");
}

Status WriteTiledConfig(const std::string& tiles, const std::string& target, const std::string& path) {
  int count = 0;
  const auto [end, error] = std::from_chars(tiles.data(), tiles.data() + tiles.size(), count);
  if (error != std::errc() || *end != '\0' || count < 1 || count > hls::tiled::kMaxTiles ||
      (target != "hw" && target != "hw_emu")) {
    return InvalidArgument("expected a number of tiles from 1 to ", int{hls::tiled::kMaxTiles},
                           " and a target (hw or hw_emu)");
  }
  return WriteFile(path, fpga::WriteLinkFile(fpga::TiledLinkFile(count),
                                             target == "hw" ? fpga::LinkTarget::kHw : fpga::LinkTarget::kHwEmu));
}

Result<fpga::LinkFile> ReadLink(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxLinkFile));
  return fpga::ParseLinkFile(text, path);
}

Status Lint(const std::string& path) {
  ASSIGN_OR_RETURN(const fpga::LinkFile link, ReadLink(path));
  std::string text;
  for (const std::string& complaint : fpga::LintLinkFile(link, fpga::DesignKernels())) {
    text += "\n  " + complaint;
  }
  return text.empty() ? Status() : DataError(path, ":", text);
}

Status WriteXclbin(const std::string& link_path, const std::string& library_path, const std::string& path) {
  ASSIGN_OR_RETURN(const fpga::LinkFile link, ReadLink(link_path));
  ASSIGN_OR_RETURN(const std::string library, ReadFile(library_path, kMaxLibrary));
  ASSIGN_OR_RETURN(const std::string bytes, MakeXclbin(link, fpga::DesignKernels(), library));
  return WriteFile(path, bytes);
}

Status Run(const std::vector<std::string>& arguments) {
  if (arguments.size() == 5 && arguments[0] == "config") {
    return WriteConfig(arguments[1], arguments[2], arguments[3], arguments[4]);
  }
  if (arguments.size() == 4 && arguments[0] == "tiled") {
    return WriteTiledConfig(arguments[1], arguments[2], arguments[3]);
  }
  if (arguments.size() == 2 && arguments[0] == "lint") {
    return Lint(arguments[1]);
  }
  if (arguments.size() == 4 && arguments[0] == "xclbin") {
    return WriteXclbin(arguments[1], arguments[2], arguments[3]);
  }
  return InvalidArgument(
      "usage: phidias_link config CARD LM_HEAD hw|hw_emu OUT, phidias_link tiled TILES hw|hw_emu OUT, phidias_link "
      "lint LINK_FILE, or phidias_link xclbin "
      "LINK_FILE KERNEL_LIBRARY OUT");
}

}  // namespace
}  // namespace phidias::emu

int main(int argc, char** argv) {
  const phidias::Status status = phidias::emu::Run(std::vector<std::string>(argv + (argc > 0 ? 1 : 0), argv + argc));
  if (!status.ok()) {
    std::fprintf(stderr, "phidias_link: %s\n", status.message().c_str());
  }
  return status.ok() ? 0 : 1;
}
