// The card's buffers: allocation in banks, transfers, and what the host may not do while a kernel runs.

#include <sys/mman.h>
#include <xrt_mem.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/str.h"
#include "emu/card/card.h"

namespace phidias::emu {
// Device memory for a buffer, in the bank that its flags name.
bool Card::PlaceBuffer(uint64_t size, Buffer* buffer) {
  const unsigned index = buffer->flags & XRT_BO_FLAGS_MEMIDX_MASK;
  const std::vector<Bank>& banks = memory_.banks();
  if (index >= banks.size() || !banks[index].used) {
    Warn(StrCat("memory index ", index, " is not a used bank of this xclbin"));
    return false;
  }
  const Bank& bank = banks[index];
  const bool host_only = (buffer->flags & XCL_BO_FLAGS_HOST_ONLY) != 0;
  if (host_only != bank.IsHostMemory()) {
    Warn(host_only ? "host-only buffers lie in HOST[0], not in " + bank.tag
                   : bank.tag + " takes host-only buffers alone");
    return false;
  }
  if (Strikes(FaultKind::kBuffer, bank.tag)) {
    Warn(bank.tag + ": no buffer (a fault asked for)");
    return false;
  }
  buffer->device_bytes = DeviceMemory::RoundUp(size);
  const auto address = memory_.Allocate(static_cast<int>(index), buffer->device_bytes);
  if (!address) {
    Warn(StrCat(bank.tag, ": no room for ", size, " bytes"));
    return false;
  }
  buffer->address = *address;
  return true;
}

unsigned Card::AllocateBuffer(void* user, uint64_t size, unsigned flags) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Buffer buffer;
  buffer.flags = flags;
  buffer.size = size;
  if (size == 0 || (flags & XCL_BO_FLAGS_P2P) != 0) {
    Warn(size == 0 ? "a buffer of no bytes" : "peer-to-peer buffers are not enabled on this card");
    return 0;
  }
  if ((flags & XCL_BO_FLAGS_EXECBUF) == 0 && !PlaceBuffer(size, &buffer)) {
    return 0;
  }
  if (user != nullptr) {
    buffer.host = static_cast<char*>(user);
  } else if ((flags & XCL_BO_FLAGS_HOST_ONLY) != 0) {
    buffer.host = memory_.Direct(buffer.address);
    memory_.Find(buffer.address)->initialised = true;
  } else if ((flags & XCL_BO_FLAGS_DEV_ONLY) == 0) {
    void* const host =
        mmap(nullptr, DeviceMemory::RoundUp(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (host == MAP_FAILED) {
      memory_.Free(buffer.address);
      Warn(StrCat("the host has no memory for a buffer of ", size, " bytes"));
      return 0;
    }
    buffer.host = static_cast<char*>(host);
    buffer.owns_host = true;
  }
  buffers_[next_handle_] = buffer;
  return next_handle_++;
}

Buffer* Card::Lookup(unsigned handle) {
  const auto found = buffers_.find(handle);
  return found == buffers_.end() ? nullptr : &found->second;
}

std::optional<Buffer> Card::FindBuffer(unsigned handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Buffer* const buffer = Lookup(handle);
  return buffer == nullptr ? std::nullopt : std::optional(*buffer);
}

// A violation if a run, started or queued, may touch begin..end.
void Card::CheckIdle(uint64_t begin, uint64_t end, const std::string& what) {
  for (const auto& unit : units_) {
    const auto touches = [&](const Job& job) {
      return std::any_of(job.accesses.begin(), job.accesses.end(),
                         [&](const Access& access) { return access.begin < end && begin < access.end; });
    };
    if (unit->running && touches(*unit->running)) {
      violations_.Add(what + " " + Hex(begin) + " while " + unit->image.unit() + " runs on it");
    } else if (std::any_of(unit->queue.begin(), unit->queue.end(), touches)) {
      violations_.Add(what + " " + Hex(begin) + " while " + unit->image.unit() + " is to run on it");
    }
  }
}

void Card::FreeBuffer(unsigned handle) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Buffer* const buffer = Lookup(handle);
  if (buffer == nullptr) {
    return;
  }
  if (buffer->device_bytes > 0 && !memory_.banks().empty()) {
    CheckIdle(buffer->address, buffer->address + buffer->device_bytes, "freed the buffer at");
    memory_.Free(buffer->address);
  }
  if (buffer->owns_host) {
    munmap(buffer->host, DeviceMemory::RoundUp(buffer->size));
  }
  buffers_.erase(handle);
}

int Card::Sync(unsigned handle, bool to_device, uint64_t size, uint64_t offset) {
  Buffer buffer;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    const Buffer* const found = Lookup(handle);
    if (found == nullptr || found->host == nullptr || found->device_bytes == 0 || offset > found->device_bytes ||
        size > found->device_bytes - offset) {
      return -EINVAL;
    }
    buffer = *found;
    const int bank = memory_.BankOf(buffer.address);
    if (Strikes(FaultKind::kSync, memory_.banks()[bank].tag)) {
      Warn("a transfer failed (a fault asked for)");
      return -EIO;
    }
    CheckIdle(buffer.address + offset, buffer.address + offset + size,
              to_device ? "sync to the device at" : "sync from the device at");
    DeviceMemory::Allocation* const allocation = memory_.Find(buffer.address);
    if (allocation == nullptr) {
      return -EINVAL;
    }
    allocation->initialised |= to_device;
    (to_device ? counts_.banks[bank].to_device : counts_.banks[bank].from_device) += size;
  }
  char* const device = memory_.Direct(buffer.address) + offset;
  char* const host = buffer.host + offset;
  const auto begin = Trace::Clock::now();
  if (device != host) {
    std::memcpy(to_device ? device : host, to_device ? host : device, size);
  }
  trace_.Add(to_device ? "transfers to the card" : "transfers from the card", "sync", begin, Trace::Clock::now(),
             StrCat("\"bytes\":", size));
  return 0;
}

// XRT quietly copies an argument that lies in a bank its port isn't wired to. The kernel then reads (or writes) the
// copy: slow at best, and its results are lost.
void Card::CheckCopy(const Buffer& to, const Buffer& from, uint64_t size) {
  const int to_bank = memory_.BankOf(to.address);
  const int from_bank = memory_.BankOf(from.address);
  if (to_bank != from_bank && size == from.size && size == to.size) {
    violations_.Add(StrCat("XRT copied a whole buffer from ", memory_.banks()[from_bank].tag, " to ",
                           memory_.banks()[to_bank].tag,
                           ": an argument lies in a bank that its port isn't wired to, and results are lost"));
  }
}

int Card::Copy(unsigned to_handle, unsigned from_handle, uint64_t size, uint64_t to_offset, uint64_t from_offset) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Buffer* const to = Lookup(to_handle);
  const Buffer* const from = Lookup(from_handle);
  if (to == nullptr || from == nullptr || to_offset > to->device_bytes || size > to->device_bytes - to_offset ||
      from_offset > from->device_bytes || size > from->device_bytes - from_offset) {
    return -EINVAL;
  }
  CheckIdle(from->address + from_offset, from->address + from_offset + size, "copy from");
  CheckIdle(to->address + to_offset, to->address + to_offset + size, "copy to");
  CheckCopy(*to, *from, size);
  std::memmove(memory_.Direct(to->address) + to_offset, memory_.Direct(from->address) + from_offset, size);
  memory_.Find(to->address)->initialised = true;
  return 0;
}

}  // namespace phidias::emu
