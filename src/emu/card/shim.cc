// The functions of XRT's C interface (<xrt.h>) that libxrt_coreutil finds in libxrt_core.so.2, with an emulated card
// behind them. XRT's "system" and "device" objects come from Debian's static archives (CMakeLists.txt): their classes
// are in no installed header, and they need the few internal names at the end of this file.

#include <ert.h>
#include <experimental/xrt-next.h>
#include <xclbin.h>
#include <xrt.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "emu/card/card.h"

namespace xrt_core {
class device {  // NOLINT: XRT's name
 public:
  void register_axlf(const axlf*);  // NOLINT: XRT's name
};
namespace swemu {
std::shared_ptr<device> get_userpf_device(void* handle, unsigned int id);  // NOLINT: XRT's name
}
namespace query {
enum class key_type;  // NOLINT: XRT's name
}
}  // namespace xrt_core

namespace {

using phidias::emu::Card;
using phidias::emu::FaultKind;
using phidias::emu::ReadSettings;

// One handle that XRT opened.
struct Handle {
  explicit Handle(unsigned id) : device(xrt_core::swemu::get_userpf_device(this, id)), card(ReadSettings()) {}

  std::shared_ptr<xrt_core::device> device;
  Card card;
};

Card& CardOf(xclDeviceHandle handle) {
  return static_cast<Handle*>(handle)->card;
}

bool IsAbsent() {
  for (const auto& fault : ReadSettings().faults) {
    if (fault.kind == FaultKind::kAbsent) {
      return true;
    }
  }
  return false;
}

}  // namespace

extern "C" {

// The report of the card in use, or of the last one: as snprintf, the length that it has.
__attribute__((visibility("default"))) size_t phidias_emu_report(char* text, size_t size) {  // NOLINT: a C interface
  const std::string report = Card::LatestReport();
  if (size > 0) {
    const size_t count = std::min(size - 1, report.size());
    std::memcpy(text, report.data(), count);
    text[count] = '\0';
  }
  return report.size();
}

// --- devices ---

unsigned xclProbe() {
  return IsAbsent() ? 0 : 1;
}
xclDeviceHandle xclOpen(unsigned id, const char*, xclVerbosityLevel) {
  return id == 0 && !IsAbsent() ? new Handle(id) : nullptr;
}
void xclClose(xclDeviceHandle handle) {
  delete static_cast<Handle*>(handle);
}
unsigned xclVersion() {
  return 2;
}
int xclGetDeviceInfo2(xclDeviceHandle, xclDeviceInfo2* info) {
  *info = xclDeviceInfo2();
  info->mHALMajorVersion = 2;
  info->mHALMinorVersion = 1;
  info->mDataAlignment = 4096;
  std::snprintf(info->mName, sizeof info->mName, "xilinx_u280_gen3x16_xdma_base_1");
  info->mDDRSize = uint64_t{32} << 30;
  info->mOCLFrequency[0] = 300;
  info->mOCLFrequency[1] = 500;
  return 0;
}
int xclLoadXclBin(xclDeviceHandle handle, const axlf* top) {
  const int result = CardOf(handle).LoadXclbin(top);
  if (result == 0) {
    static_cast<Handle*>(handle)->device->register_axlf(top);
  }
  return result;
}
int xclOpenContext(xclDeviceHandle, const xuid_t, unsigned, bool) {
  return 0;
}
int xclCloseContext(xclDeviceHandle, const xuid_t, unsigned) {
  return 0;
}

// --- buffers ---

xclBufferHandle xclAllocBO(xclDeviceHandle handle, size_t size, int, unsigned flags) {
  const unsigned buffer = CardOf(handle).AllocateBuffer(nullptr, size, flags);
  return buffer != 0 ? buffer : XRT_NULL_BO;
}
xclBufferHandle xclAllocUserPtrBO(xclDeviceHandle handle, void* memory, size_t size, unsigned flags) {
  const unsigned buffer = CardOf(handle).AllocateBuffer(memory, size, flags);
  return buffer != 0 ? buffer : XRT_NULL_BO;
}
void xclFreeBO(xclDeviceHandle handle, xclBufferHandle buffer) {
  CardOf(handle).FreeBuffer(buffer);
}
void* xclMapBO(xclDeviceHandle handle, xclBufferHandle buffer, bool) {
  const auto found = CardOf(handle).FindBuffer(buffer);
  return found ? found->host : nullptr;
}
int xclUnmapBO(xclDeviceHandle, xclBufferHandle, void*) {
  return 0;
}
int xclSyncBO(xclDeviceHandle handle, xclBufferHandle buffer, xclBOSyncDirection direction, size_t size,
              size_t offset) {
  return CardOf(handle).Sync(buffer, direction == XCL_BO_SYNC_BO_TO_DEVICE, size, offset);
}
int xclCopyBO(xclDeviceHandle handle, xclBufferHandle to, xclBufferHandle from, size_t size, size_t to_offset,
              size_t from_offset) {
  return CardOf(handle).Copy(to, from, size, to_offset, from_offset);
}
size_t xclWriteBO(xclDeviceHandle handle, xclBufferHandle buffer, const void* source, size_t size, size_t offset) {
  const auto found = CardOf(handle).FindBuffer(buffer);
  if (!found || found->host == nullptr || offset > found->size || size > found->size - offset) {
    return static_cast<size_t>(-EINVAL);
  }
  std::memcpy(found->host + offset, source, size);
  return 0;
}
size_t xclReadBO(xclDeviceHandle handle, xclBufferHandle buffer, void* target, size_t size, size_t offset) {
  const auto found = CardOf(handle).FindBuffer(buffer);
  if (!found || found->host == nullptr || offset > found->size || size > found->size - offset) {
    return static_cast<size_t>(-EINVAL);
  }
  std::memcpy(target, found->host + offset, size);
  return 0;
}
int xclGetBOProperties(xclDeviceHandle handle, xclBufferHandle buffer, xclBOProperties* properties) {
  const auto found = CardOf(handle).FindBuffer(buffer);
  if (!found) {
    return -EINVAL;
  }
  properties->handle = buffer;
  properties->flags = found->flags;
  properties->size = found->size;
  properties->paddr = found->address;
  return 0;
}
xclBufferExportHandle xclExportBO(xclDeviceHandle, xclBufferHandle) {
  return XRT_NULL_BO_EXPORT;
}
xclBufferHandle xclImportBO(xclDeviceHandle, xclBufferExportHandle, unsigned) {
  return XRT_NULL_BO;
}

// --- runs ---

int xclExecBuf(xclDeviceHandle handle, xclBufferHandle buffer) {
  return CardOf(handle).Execute(buffer);
}
int xclExecWait(xclDeviceHandle handle, int milliseconds) {
  return CardOf(handle).WaitForCompletion(milliseconds);
}

// --- what the card doesn't have ---

int xclReClock2(xclDeviceHandle, unsigned short, const uint16_t*) {
  return 0;
}
int xclLockDevice(xclDeviceHandle) {
  return 0;
}
int xclUnlockDevice(xclDeviceHandle) {
  return 0;
}
ssize_t xclUnmgdPread(xclDeviceHandle, unsigned, void*, size_t, uint64_t) {
  return -ENOSYS;
}
ssize_t xclUnmgdPwrite(xclDeviceHandle, unsigned, const void*, size_t, uint64_t) {
  return -ENOSYS;
}
size_t xclWrite(xclDeviceHandle, enum xclAddressSpace, uint64_t, const void*, size_t) {
  return static_cast<size_t>(-ENOSYS);
}
size_t xclRead(xclDeviceHandle, enum xclAddressSpace, uint64_t, void*, size_t) {
  return static_cast<size_t>(-ENOSYS);
}
int xclRegWrite(xclDeviceHandle, uint32_t, uint32_t, uint32_t) {
  return -ENOSYS;
}
int xclRegRead(xclDeviceHandle, uint32_t, uint32_t, uint32_t*) {
  return -ENOSYS;
}
int xclP2pEnable(xclDeviceHandle, bool, bool) {
  return -ENOSYS;
}

}  // extern "C"

// Internal names of XRT that the archives' objects refer to.
// NOLINTBEGIN(readability-identifier-naming)
int xclUpdateSchedulerStat(xclDeviceHandle) {
  return -ENOSYS;
}
int xclInternalResetDevice(xclDeviceHandle, xclResetKind) {
  return -ENOSYS;
}
int xclCmaEnable(xclDeviceHandle, bool, uint64_t) {
  return -ENOSYS;
}
int xclCloseExportHandle(xclBufferExportHandle) {
  return 0;
}
// NOLINTEND(readability-identifier-naming)
namespace xclcpuemhal2 {  // NOLINT: XRT's name
struct CpuemShim {
  static CpuemShim* handleCheck(void*);             // NOLINT: XRT's name
  unsigned deviceQuery(xrt_core::query::key_type);  // NOLINT: XRT's name
};
CpuemShim* CpuemShim::handleCheck(void*) {
  return nullptr;
}
// Asked for copies within the card (m2m) and for its absence of a DMA engine: neither, as on gen3x16_xdma.
unsigned CpuemShim::deviceQuery(xrt_core::query::key_type) {
  return 0;
}
}  // namespace xclcpuemhal2
