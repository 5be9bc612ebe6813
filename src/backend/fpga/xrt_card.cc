#include "backend/fpga/xrt_card.h"

#include <experimental/xrt_system.h>
#include <experimental/xrt_xclbin.h>
#include <version.h>
#include <xclbin.h>
#include <xrt/xrt_bo.h>
#include <xrt/xrt_device.h>
#include <xrt/xrt_kernel.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <system_error>

#include "common/mapped_file.h"

namespace phidias::fpga {
namespace {

constexpr uintptr_t kPageBytes = 4096;
constexpr std::chrono::milliseconds kAbortTime{1000};  // for an aborted run to end
constexpr unsigned kMaxDevices = 64;                   // of one host

// Runs `call`, which talks to XRT; what it throws becomes a Status.
template <class Call>
Status Guard(StatusCode code, const std::string& what, Call&& call) {
  try {
    call();
    return {};
  } catch (const std::bad_alloc&) {
    return {StatusCode::kResourceExhausted, what + ": no memory"};
  } catch (const std::exception& error) {
    return {code, what + ": " + error.what()};
  }
}

const char* StateName(ert_cmd_state state) {
  switch (state) {
    case ERT_CMD_STATE_NEW: return "new";
    case ERT_CMD_STATE_QUEUED: return "queued";
    case ERT_CMD_STATE_SUBMITTED: return "submitted";
    case ERT_CMD_STATE_RUNNING: return "running";
    case ERT_CMD_STATE_COMPLETED: return "completed";
    case ERT_CMD_STATE_ERROR: return "error";
    case ERT_CMD_STATE_ABORT: return "aborted";
    case ERT_CMD_STATE_TIMEOUT: return "timed out";
    case ERT_CMD_STATE_NORESPONSE: return "no response";
    default: return "unknown";
  }
}

// "kernel:unit", as XRT names compute units.
std::string UnitName(const std::string& name) {
  return name.substr(name.find(':') + 1);
}

// "HBM[3]" to its memory and number; nullopt for other tags, such as those of groups of banks.
std::optional<std::pair<std::string, int>> SplitTag(const std::string& tag) {
  const size_t open = tag.find('[');
  int number = 0;
  if (open == std::string::npos || tag.starts_with("MBG")) {
    return std::nullopt;
  }
  const auto [end, error] = std::from_chars(tag.data() + open + 1, tag.data() + tag.size(), number);
  return error == std::errc() && *end == ']' ? std::optional(std::pair(tag.substr(0, open), number)) : std::nullopt;
}

// The banks that an argument is wired to, as one range; nullopt for a scalar.
std::optional<BankRange> BanksOf(const xrt::xclbin::arg& argument) {
  std::optional<BankRange> range;
  for (const xrt::xclbin::mem& memory : argument.get_mems()) {
    if (const auto tag = SplitTag(memory.get_tag())) {
      if (!range) {
        range = BankRange{tag->first, tag->second, tag->second};
      }
      range->first = std::min(range->first, tag->second);
      range->last = std::max(range->last, tag->second);
    }
  }
  return range;
}

XclbinInfo Describe(const xrt::xclbin& xclbin) {
  XclbinInfo info;
  info.platform = xclbin.get_xsa_name();
  info.uuid = xclbin.get_uuid().to_string();
  info.link.platform = info.platform;
  for (const xrt::xclbin::kernel& kernel : xclbin.get_kernels()) {
    for (const xrt::xclbin::ip& unit : kernel.get_cus()) {
      const std::string name = UnitName(unit.get_name());
      info.link.units.push_back({name, kernel.get_name(), -1});
      for (const xrt::xclbin::arg& argument : unit.get_args()) {
        if (const auto banks = BanksOf(argument)) {
          info.link.ports.push_back({name, argument.get_name(), *banks});
        }
      }
    }
  }
  return info;
}

// XRT takes the container's header at its word and reads past the end of a file that is cut short.
Status CheckContainer(std::span<const std::byte> file, const std::string& path) {
  axlf top = {};
  if (file.size() < sizeof top || std::memcmp(file.data(), "xclbin2", sizeof top.m_magic) != 0) {
    return DataError(path, ": not an xclbin (it doesn't begin with \"xclbin2\", or is too short)");
  }
  std::memcpy(&top, file.data(), sizeof top);
  if (top.m_header.m_length != file.size()) {
    return DataError(path, ": ", file.size(), " bytes long, its header says ", top.m_header.m_length,
                     ": copied incompletely?");
  }
  const uint64_t table = offsetof(axlf, m_sections);
  if (top.m_header.m_numSections > (file.size() - table) / sizeof(axlf_section_header)) {
    return DataError(path, ": ", top.m_header.m_numSections, " sections don't fit into the file");
  }
  for (uint32_t i = 0; i < top.m_header.m_numSections; ++i) {
    axlf_section_header section = {};
    std::memcpy(&section, file.data() + table + i * sizeof section, sizeof section);
    if (section.m_sectionOffset > file.size() || section.m_sectionSize > file.size() - section.m_sectionOffset) {
      return DataError(path, ": section ", i, " lies outside the file");
    }
  }
  return {};
}

Result<xrt::xclbin> OpenXclbin(const std::string& path) {
  ASSIGN_OR_RETURN(const auto file, MappedFile::Open(path));
  RETURN_IF_ERROR(CheckContainer(file->bytes(), path));
  xrt::xclbin xclbin;
  RETURN_IF_ERROR(Guard(StatusCode::kDataError, path, [&] { xclbin = xrt::xclbin(path); }));
  return xclbin;
}

// Ended runs, in the order of their ends. XRT's thread fills it.
class EndQueue {
 public:
  void Push(int32_t run) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ended_.push_back(run);
    changed_.notify_one();
  }

  std::optional<int32_t> Pop(std::chrono::milliseconds timeout) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, timeout, [this] { return !ended_.empty(); })) {
      return std::nullopt;
    }
    const int32_t run = ended_.front();
    ended_.pop_front();
    return run;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<int32_t> ended_;
};

class XrtCard : public CardDevice {
 public:
  XrtCard() = default;
  ~XrtCard() override { XrtCard::Abandon(); }
  XrtCard(const XrtCard&) = delete;
  XrtCard& operator=(const XrtCard&) = delete;

  Status Open(const XrtCardOptions& options);

  std::string Describe() const override { return description_; }
  Result<BufferId> Allocate(std::string_view bank, int64_t bytes, std::string_view what, bool card_only) override;
  Result<BufferId> Wrap(std::string_view bank, std::span<const std::byte> memory, std::string_view what) override;
  Result<BufferId> Part(BufferId whole, int64_t offset, int64_t bytes) override;
  void Free(BufferId buffer) override { buffers_[static_cast<size_t>(buffer)] = Buffer(); }
  std::span<std::byte> Host(BufferId buffer) override { return buffers_[static_cast<size_t>(buffer)].host; }
  Status ToCard(BufferId buffer) override { return Sync(buffer, XCL_BO_SYNC_BO_TO_DEVICE); }
  Status FromCard(BufferId buffer) override { return Sync(buffer, XCL_BO_SYNC_BO_FROM_DEVICE); }

  Result<RunId> NewRun(std::string_view unit, std::string_view what) override;
  Status SetArgument(RunId run, std::string_view argument, BufferId buffer) override;
  Status SetArgument(RunId run, std::string_view argument, int32_t value) override {
    return SetScalar(run, argument, value);
  }
  Status SetArgument(RunId run, std::string_view argument, float value) override {
    return SetScalar(run, argument, value);
  }
  Status Start(RunId run) override;
  Result<RunId> WaitAny(std::chrono::milliseconds timeout) override;
  std::string RunningText() const override;
  void Abandon() override;

 private:
  struct Buffer {
    xrt::bo bo;
    std::string bank;
    std::string what;
    size_t bytes = 0;
    std::span<std::byte> host;
  };
  struct Argument {
    int index = 0;
    uint64_t bytes = 0;
    std::set<std::string> banks;  // tags; empty for a scalar
  };
  struct Unit {
    std::string kernel_name;
    xrt::kernel kernel;
    std::map<std::string, Argument, std::less<>> arguments;
  };
  struct Run {
    xrt::run run;
    const Unit* unit = nullptr;
    std::string name;  // "compute unit fc1 (linear_s8_b4w512), layer 3"
    bool started = false;
  };

  Status OpenUnits(const xrt::xclbin& xclbin);
  Result<xrt::memory_group> GroupOf(std::string_view bank, std::string_view what) const;
  BufferId Keep(Buffer buffer);
  Status Sync(BufferId buffer, xclBOSyncDirection direction);
  Result<const Argument*> FindArgument(const Run& run, std::string_view argument) const;
  template <class T>
  Status SetScalar(RunId id, std::string_view argument, T value);

  // Destroyed from the last to the first: runs before kernels, buffers and the device.
  std::string description_;
  xrt::device device_;
  std::map<std::string, xrt::memory_group, std::less<>> groups_;  // by bank tag
  std::map<std::string, Unit, std::less<>> units_;
  std::vector<Buffer> buffers_;
  std::shared_ptr<EndQueue> ended_ = std::make_shared<EndQueue>();  // a callback may outlive its run
  std::vector<Run> runs_;
  bool abandoned_ = false;
};

// What XRT's message leaves out.
Status ExplainLoad(const Status& status, const std::string& xclbin) {
  if (status.ok()) {
    return status;
  }
  const std::string& message = status.message();
  const char* advice = "";
  if (message.find("busy") != std::string::npos) {
    advice = "; another process uses the card: end it, or wait (xbutil examine --report dynamic-regions names it)";
  } else if (message.find("Permission denied") != std::string::npos) {
    advice = "; the card's device files aren't yours to use: see ls -l /dev/dri/renderD*";
  } else if (message.find("Invalid argument") != std::string::npos) {
    advice = "; the card's shell doesn't take it: it was linked for another platform (phidias doctor compares them)";
  }
  return {status.code(), "cannot load " + xclbin + ": " + message + advice};
}

Status XrtCard::Open(const XrtCardOptions& options) {
  ASSIGN_OR_RETURN(const xrt::xclbin xclbin, OpenXclbin(options.xclbin));
  const XclbinInfo info = fpga::Describe(xclbin);
  if (options.expected != nullptr) {
    RETURN_IF_ERROR(CompareXclbin(info, *options.expected, options.xclbin));
  }
  const std::string card = StrCat("FPGA device ", options.index);
  RETURN_IF_ERROR(Guard(StatusCode::kNotFound, card, [&] {
    device_ = xrt::device(static_cast<unsigned>(options.index));
    description_ = device_.get_info<xrt::info::device::name>() + ", xclbin " + info.uuid;
  }));
  RETURN_IF_ERROR(ExplainLoad(Guard(StatusCode::kIoError, card, [&] { device_.load_xclbin(xclbin); }), options.xclbin));
  return Guard(StatusCode::kDataError, options.xclbin, [&] {
    if (const Status status = OpenUnits(xclbin); !status.ok()) {
      throw std::runtime_error(status.message());
    }
  });
}

Status XrtCard::OpenUnits(const xrt::xclbin& xclbin) {
  for (const xrt::xclbin::mem& memory : xclbin.get_mems()) {
    if (memory.get_used()) {
      groups_[memory.get_tag()] = static_cast<xrt::memory_group>(memory.get_index());
    }
  }
  for (const xrt::xclbin::kernel& kernel : xclbin.get_kernels()) {
    for (const xrt::xclbin::ip& ip : kernel.get_cus()) {
      const std::string name = UnitName(ip.get_name());
      Unit& unit = units_[name];
      unit.kernel_name = kernel.get_name();
      if (ip.get_control_type() == xrt::xclbin::ip::control_type::none) {
        continue;  // runs by itself
      }
      unit.kernel = xrt::kernel(device_, xclbin.get_uuid(), StrCat(unit.kernel_name, ":{", name, "}"));
      for (const xrt::xclbin::arg& argument : ip.get_args()) {
        Argument& made = unit.arguments[argument.get_name()];
        made.index = static_cast<int>(argument.get_index());
        made.bytes = argument.get_size();
        for (const xrt::xclbin::mem& memory : argument.get_mems()) {
          made.banks.insert(memory.get_tag());
        }
      }
    }
  }
  return units_.empty() ? DataError("it has no compute units") : Status();
}

Result<xrt::memory_group> XrtCard::GroupOf(std::string_view bank, std::string_view what) const {
  const auto found = groups_.find(bank);
  if (found == groups_.end()) {
    return InvalidArgument(what, ": the loaded xclbin uses no memory ", bank);
  }
  return found->second;
}

BufferId XrtCard::Keep(Buffer buffer) {
  buffers_.push_back(std::move(buffer));
  return static_cast<BufferId>(buffers_.size() - 1);
}

Result<BufferId> XrtCard::Allocate(std::string_view bank, int64_t bytes, std::string_view what, bool card_only) {
  ASSIGN_OR_RETURN(const xrt::memory_group group, GroupOf(bank, what));
  Buffer buffer;
  buffer.bank = bank;
  buffer.what = what;
  buffer.bytes = static_cast<size_t>(bytes);
  const bool host_memory = bank.starts_with("HOST");
  const auto flags = card_only     ? xrt::bo::flags::device_only
                     : host_memory ? xrt::bo::flags::host_only
                                   : xrt::bo::flags::normal;
  const std::string context = StrCat(what, ": ", bytes, " bytes in ", bank);
  RETURN_IF_ERROR(Guard(StatusCode::kResourceExhausted, context, [&] {
    // Whole pages: XRT's own allocation of the host's side takes nothing else.
    const size_t pages = (buffer.bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
    buffer.bo = xrt::bo(device_, pages, flags, group);
    if (!card_only) {
      buffer.host = {buffer.bo.map<std::byte*>(), buffer.bytes};
    }
  }));
  return Keep(std::move(buffer));
}

Result<BufferId> XrtCard::Wrap(std::string_view bank, std::span<const std::byte> memory, std::string_view what) {
  ASSIGN_OR_RETURN(const xrt::memory_group group, GroupOf(bank, what));
  if (reinterpret_cast<uintptr_t>(memory.data()) % kPageBytes != 0) {
    return Status(StatusCode::kInternal, StrCat(what, ": memory to wrap that doesn't begin on a page"));
  }
  Buffer buffer;
  buffer.bank = bank;
  buffer.what = what;
  buffer.bytes = memory.size();
  // XRT never writes to it: nothing here syncs a wrapped buffer from the card.
  void* const pages = const_cast<std::byte*>(memory.data());
  const Status wrapped = Guard(StatusCode::kResourceExhausted, StrCat(what, ": ", memory.size(), " bytes in ", bank),
                               [&] { buffer.bo = xrt::bo(device_, pages, memory.size(), group); });
  if (wrapped.ok()) {
    return Keep(std::move(buffer));
  }
  // A driver that doesn't pin read-only pages. If it was the card's memory that is short, this fails the same way.
  ASSIGN_OR_RETURN(const BufferId copy, Allocate(bank, static_cast<int64_t>(memory.size()), what, false));
  std::memcpy(Host(copy).data(), memory.data(), memory.size());
  return copy;
}

Result<BufferId> XrtCard::Part(BufferId whole, int64_t offset, int64_t bytes) {
  const Buffer& parent = buffers_[static_cast<size_t>(whole)];
  Buffer part;
  part.bank = parent.bank;
  part.what = StrCat(parent.what, " at ", offset);
  part.bytes = static_cast<size_t>(bytes);
  RETURN_IF_ERROR(Guard(StatusCode::kInternal, part.what,
                        [&] { part.bo = xrt::bo(parent.bo, part.bytes, static_cast<size_t>(offset)); }));
  if (!parent.host.empty()) {
    part.host = parent.host.subspan(static_cast<size_t>(offset), part.bytes);
  }
  return Keep(std::move(part));
}

Status XrtCard::Sync(BufferId id, xclBOSyncDirection direction) {
  Buffer& buffer = buffers_[static_cast<size_t>(id)];
  const char* const way = direction == XCL_BO_SYNC_BO_TO_DEVICE ? " to the card" : " from the card";
  return Guard(StatusCode::kIoError, StrCat(buffer.what, " (", buffer.bank, "): transfer", way, " failed"),
               [&] { buffer.bo.sync(direction, buffer.bytes, 0); });
}

Result<RunId> XrtCard::NewRun(std::string_view unit, std::string_view what) {
  const auto found = units_.find(unit);
  if (found == units_.end()) {
    return InvalidArgument("the loaded xclbin has no compute unit ", unit);
  }
  Run run;
  run.unit = &found->second;
  run.name = StrCat("compute unit ", unit, " (", run.unit->kernel_name, ")", what.empty() ? "" : ", ", what);
  const auto id = static_cast<int32_t>(runs_.size());
  RETURN_IF_ERROR(Guard(StatusCode::kResourceExhausted, run.name, [&] {
    run.run = xrt::run(run.unit->kernel);
    const auto notify = [queue = ended_, id](const void*, ert_cmd_state, void*) { queue->Push(id); };
    run.run.add_callback(ERT_CMD_STATE_COMPLETED, notify, nullptr);
  }));
  runs_.push_back(std::move(run));
  return static_cast<RunId>(runs_.size() - 1);
}

Result<const XrtCard::Argument*> XrtCard::FindArgument(const Run& run, std::string_view argument) const {
  const auto found = run.unit->arguments.find(argument);
  if (found == run.unit->arguments.end()) {
    return InvalidArgument(run.name, ": the kernel has no argument ", argument);
  }
  return &found->second;
}

Status XrtCard::SetArgument(RunId id, std::string_view argument, BufferId buffer_id) {
  Run& run = runs_[static_cast<size_t>(id)];
  const Buffer& buffer = buffers_[static_cast<size_t>(buffer_id)];
  ASSIGN_OR_RETURN(const Argument* const place, FindArgument(run, argument));
  // XRT would make a copy in the right bank and say so in its log only.
  if (!place->banks.contains(buffer.bank)) {
    std::string banks;
    for (const std::string& bank : place->banks) {
      banks += (banks.empty() ? "" : ", ") + bank;
    }
    return InvalidArgument(run.name, ": ", argument, " is wired to ", banks.empty() ? "no memory" : banks, ", but ",
                           buffer.what, " lies in ", buffer.bank);
  }
  return Guard(StatusCode::kIoError, StrCat(run.name, ", ", argument),
               [&] { run.run.set_arg(place->index, buffer.bo); });
}

template <class T>
Status XrtCard::SetScalar(RunId id, std::string_view argument, T value) {
  Run& run = runs_[static_cast<size_t>(id)];
  ASSIGN_OR_RETURN(const Argument* const place, FindArgument(run, argument));
  if (!place->banks.empty() || place->bytes != sizeof value) {
    return InvalidArgument(run.name, ": ", argument, " is not a scalar of ", sizeof value, " bytes");
  }
  return Guard(StatusCode::kIoError, StrCat(run.name, ", ", argument), [&] { run.run.set_arg(place->index, value); });
}

Status XrtCard::Start(RunId id) {
  Run& run = runs_[static_cast<size_t>(id)];
  if (abandoned_) {
    return IoError(run.name, ": the card was given up after a run that didn't end");
  }
  RETURN_IF_ERROR(Guard(StatusCode::kIoError, run.name, [&] { run.run.start(); }));
  run.started = true;
  return {};
}

Result<RunId> XrtCard::WaitAny(std::chrono::milliseconds timeout) {
  const std::optional<int32_t> ended = ended_->Pop(timeout);
  if (!ended) {
    return Status(StatusCode::kCancelled, "");
  }
  Run& run = runs_[static_cast<size_t>(*ended)];
  run.started = false;
  const ert_cmd_state state = run.run.state();
  if (state != ERT_CMD_STATE_COMPLETED) {
    return IoError(run.name, " failed: its state is \"", StateName(state),
                   "\"; if it happens again, reset the card (xbutil reset) and look into dmesg");
  }
  return static_cast<RunId>(*ended);
}

std::string XrtCard::RunningText() const {
  std::string text;
  for (const Run& run : runs_) {
    if (run.started) {
      text += StrCat(text.empty() ? "" : "; ", run.name, " (", StateName(run.run.state()), ")");
    }
  }
  return text;
}

void XrtCard::Abandon() {
  int aborted = 0;
  for (Run& run : runs_) {
    if (run.started) {
      abandoned_ = true;
      run.started = false;
      // Nothing can be done about a run that can't be aborted either.
      aborted += Guard(StatusCode::kIoError, run.name, [&] { run.run.abort(); }).ok() ? 1 : 0;
    }
  }
  while (aborted > 0 && ended_->Pop(kAbortTime)) {
    --aborted;
  }
}

}  // namespace

std::string XrtVersion() {
  return xrt_build_version;
}

Result<std::vector<XrtDeviceInfo>> ListXrtDevices() {
  unsigned count = 0;
  RETURN_IF_ERROR(Guard(StatusCode::kIoError, "XRT", [&] { count = xrt::system::enumerate_devices(); }));
  std::vector<XrtDeviceInfo> devices;
  // Not every driver counts its devices: past the count, those that can be opened are there too.
  for (unsigned i = 0; i < kMaxDevices; ++i) {
    XrtDeviceInfo info;
    info.index = static_cast<int>(i);
    xrt::device device;
    const Status status = Guard(StatusCode::kIoError, "XRT", [&] {
      device = xrt::device(i);
      info.shell = device.get_info<xrt::info::device::name>();
    });
    if (!status.ok() && i >= count) {
      break;
    }
    info.problem = status.message();
    // Without it the device is just as good.
    (void)Guard(StatusCode::kIoError, "XRT", [&] { info.address = device.get_info<xrt::info::device::bdf>(); });
    devices.push_back(std::move(info));
  }
  return devices;
}

Result<XclbinInfo> ReadXclbin(const std::string& path) {
  ASSIGN_OR_RETURN(const xrt::xclbin xclbin, OpenXclbin(path));
  XclbinInfo info;
  RETURN_IF_ERROR(Guard(StatusCode::kDataError, path, [&] { info = Describe(xclbin); }));
  return info;
}

Result<std::unique_ptr<CardDevice>> OpenXrtCard(const XrtCardOptions& options) {
  auto card = std::make_unique<XrtCard>();
  RETURN_IF_ERROR(card->Open(options));
  return std::unique_ptr<CardDevice>(std::move(card));
}

}  // namespace phidias::fpga
