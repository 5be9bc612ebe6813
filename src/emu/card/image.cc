#include "emu/card/image.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xclbin.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

namespace phidias::emu {

class KernelLibrary {
 public:
  explicit KernelLibrary(void* handle) : handle_(handle) {}
  KernelLibrary(const KernelLibrary&) = delete;
  KernelLibrary& operator=(const KernelLibrary&) = delete;
  ~KernelLibrary() { dlclose(handle_); }

  // "Programs the card": null, with `error`, if the bytes aren't a library of this machine's kind.
  static std::shared_ptr<KernelLibrary> Load(const char* bytes, uint64_t size, std::string* error) {
    const int fd = memfd_create("u280-emu-kernels", MFD_CLOEXEC);
    bool written = fd >= 0;
    for (uint64_t done = 0; written && done < size;) {
      const ssize_t count = write(fd, bytes + done, size - done);
      written = count > 0;
      done += written ? count : 0;
    }
    void* const handle =
        written ? dlopen(("/proc/self/fd/" + std::to_string(fd)).c_str(), RTLD_NOW | RTLD_LOCAL) : nullptr;
    if (handle == nullptr) {
      const char* const why = written ? dlerror() : nullptr;
      *error = std::string("the BITSTREAM section is not a library of kernels for the emulated card: ") +
               (why != nullptr ? why : std::strerror(errno));
    }
    if (fd >= 0) {
      close(fd);
    }
    return handle != nullptr ? std::make_shared<KernelLibrary>(handle) : nullptr;
  }

  template <class T>
  T* Find(const std::string& symbol) const {
    return reinterpret_cast<T*>(dlsym(handle_, symbol.c_str()));
  }

 private:
  void* handle_;
};

namespace {

struct Section {
  const char* data = nullptr;
  uint64_t size = 0;

  explicit operator bool() const { return data != nullptr; }
  // The section as a counted table whose header is `Table`; null if it is too short for its own count.
  template <class Table, class Entry>
  const Table* AsTable() const {
    const auto* const table = reinterpret_cast<const Table*>(data);
    if (data == nullptr || size < sizeof(int32_t) || table->m_count < 0) {
      return nullptr;
    }
    return size >= sizeof(Table) - sizeof(Entry) + table->m_count * sizeof(Entry) ? table : nullptr;
  }
};

Section FindSection(const axlf* top, axlf_section_kind kind) {
  for (uint32_t i = 0; i < top->m_header.m_numSections; ++i) {
    const axlf_section_header& header = top->m_sections[i];
    if (header.m_sectionKind == static_cast<uint32_t>(kind) && header.m_sectionOffset <= top->m_header.m_length &&
        header.m_sectionSize <= top->m_header.m_length - header.m_sectionOffset) {
      return {reinterpret_cast<const char*>(top) + header.m_sectionOffset, header.m_sectionSize};
    }
  }
  return {};
}

Section FindSection(const axlf* top, axlf_section_kind kind, axlf_section_kind otherwise) {
  const Section section = FindSection(top, kind);
  return section ? section : FindSection(top, otherwise);
}

std::string Text(const unsigned char* text, size_t limit) {
  const char* const chars = reinterpret_cast<const char*>(text);
  return {chars, strnlen(chars, limit)};
}

// The value of `name="..."` in an XML tag.
std::string Attribute(const std::string& tag, const std::string& name) {
  const size_t at = tag.find(" " + name + "=\"");
  if (at == std::string::npos) {
    return "";
  }
  const size_t first = at + name.size() + 3;
  return tag.substr(first, tag.find('"', first) - first);
}

unsigned Number(const std::string& text) {
  return static_cast<unsigned>(std::strtoul(text.c_str(), nullptr, 0));
}

using KernelArguments = std::map<std::string, std::vector<Argument>>;

KernelArguments ReadMetadata(const Section& section) {
  KernelArguments kernels;
  const std::string xml(section.data, section.size);
  std::string kernel;
  std::set<std::string> outputs;  // its output streams
  for (size_t at = xml.find('<'); at != std::string::npos; at = xml.find('<', at + 1)) {
    const std::string tag = xml.substr(at, xml.find('>', at) - at);
    if (tag.starts_with("<kernel ")) {
      kernel = Attribute(tag, "name");
      outputs.clear();
    } else if (tag.starts_with("<arg ") && !Attribute(tag, "id").empty()) {
      Argument argument;
      argument.name = Attribute(tag, "name");
      argument.is_memory = Attribute(tag, "addressQualifier") == "1";
      argument.is_stream = Attribute(tag, "addressQualifier") == "4";
      argument.offset = Number(Attribute(tag, "offset"));
      argument.bytes = Number(Attribute(tag, "size"));
      argument.is_output = outputs.contains(argument.name);
      kernels[kernel].push_back(argument);
    } else if (tag.starts_with("<port ") && Attribute(tag, "mode") == "write_only") {
      outputs.insert(Attribute(tag, "name"));
    }
  }
  return kernels;
}

void ReadBanks(const mem_topology& topology, Image* image) {
  for (int i = 0; i < topology.m_count; ++i) {
    const mem_data& memory = topology.m_mem_data[i];
    const std::string tag = Text(memory.m_tag, sizeof memory.m_tag);
    if (memory.m_type == MEM_STREAMING_CONNECTION) {
      image->banks.push_back({tag, 0, 0, false, static_cast<uint32_t>(std::max<uint64_t>(1, memory.route_id))});
    } else {
      image->banks.push_back({tag, memory.m_base_address, memory.m_size << 10, memory.m_used != 0, 0});
    }
  }
}

// Gives the unit its function, if the function's type is what the metadata says.
bool Bind(const KernelLibrary& library, UnitImage* unit, std::string* error) {
  const std::string kernel = unit->name.substr(0, unit->name.find(':'));
  const auto* const code = library.Find<const EmuKernel>("emu_kernel_" + kernel);
  if (code == nullptr) {
    *error = "the library of kernels has no " + kernel;
    return false;
  }
  bool same = code->count == static_cast<int>(unit->arguments.size());
  for (size_t i = 0; same && i < unit->arguments.size(); ++i) {
    Argument& argument = unit->arguments[i];
    const EmuArgument& type = code->arguments[i];
    same = (type.is_memory != 0) == argument.is_memory && (type.add_stream != nullptr) == argument.is_stream &&
           (argument.is_memory || argument.is_stream || type.bytes == argument.bytes);
    argument.writes = type.is_memory != 0 && type.is_const == 0;
  }
  if (!same) {
    *error = "kernel " + kernel + ": the library's function has other arguments than the xclbin says";
    return false;
  }
  unit->run = code->run;
  unit->kernel = code;
  return true;
}

bool ReadUnits(const ip_layout& layout, const connectivity* wires, const KernelArguments& kernels, Image* image,
               std::string* error) {
  std::vector<int> order;  // XRT numbers units by their interrupts
  for (int i = 0; i < layout.m_count; ++i) {
    if (layout.m_ip_data[i].m_type == IP_KERNEL) {
      order.push_back(i);
    }
  }
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return (layout.m_ip_data[a].properties & IP_INTERRUPT_ID_MASK) <
           (layout.m_ip_data[b].properties & IP_INTERRUPT_ID_MASK);
  });
  const auto by_itself = [&](int index) {
    return (layout.m_ip_data[index].properties & IP_CONTROL_MASK) >> IP_CONTROL_SHIFT == AP_CTRL_NONE;
  };
  std::stable_partition(order.begin(), order.end(), [&](int index) { return !by_itself(index); });
  for (const int index : order) {
    const ip_data& ip = layout.m_ip_data[index];
    UnitImage unit;
    unit.by_itself = by_itself(index);
    unit.name = Text(ip.m_name, sizeof ip.m_name);
    const auto kernel = kernels.find(unit.name.substr(0, unit.name.find(':')));
    unit.arguments = kernel != kernels.end() ? kernel->second : std::vector<Argument>();
    for (int i = 0; wires != nullptr && i < wires->m_count; ++i) {
      const connection& wire = wires->m_connection[i];
      if (wire.m_ip_layout_index != index) {
        continue;
      }
      if (wire.arg_index < 0 || wire.arg_index >= static_cast<int>(unit.arguments.size()) || wire.mem_data_index < 0 ||
          wire.mem_data_index >= static_cast<int>(image->banks.size())) {
        *error = "the connectivity of " + unit.name + " names an argument or a bank that isn't there";
        return false;
      }
      unit.arguments[wire.arg_index].banks.insert(wire.mem_data_index);
    }
    if (!Bind(*image->library, &unit, error)) {
      return false;
    }
    image->units.push_back(std::move(unit));
  }
  return true;
}

// Fills the streams in from what their ends are wired to.
bool ConnectStreams(Image* image, std::string* error) {
  std::map<int, StreamImage> streams;  // by the topology's entry
  for (size_t u = 0; u < image->units.size(); ++u) {
    const UnitImage& unit = image->units[u];
    for (size_t a = 0; a < unit.arguments.size(); ++a) {
      const Argument& argument = unit.arguments[a];
      if (!argument.is_stream) {
        continue;
      }
      if (argument.banks.size() != 1 || image->banks[*argument.banks.begin()].stream_depth == 0) {
        *error = "stream " + unit.unit() + "." + argument.name + " is not wired to one other stream";
        return false;
      }
      StreamImage& stream = streams[*argument.banks.begin()];
      (argument.is_output ? stream.from_unit : stream.to_unit) = static_cast<int>(u);
      (argument.is_output ? stream.from_argument : stream.to_argument) = static_cast<int>(a);
      if (argument.is_output) {
        stream.name = unit.unit() + "." + argument.name;
      }
    }
  }
  for (auto& [entry, stream] : streams) {
    if (stream.from_unit < 0 || stream.to_unit < 0) {
      *error = "stream " + image->banks[entry].tag + " has one end alone";
      return false;
    }
    stream.depth = image->banks[entry].stream_depth;
    image->streams.push_back(std::move(stream));
  }
  image->run_system = image->library->Find<EmuRunSystem>("emu_run_system");
  if (!image->streams.empty() && image->run_system == nullptr) {
    *error = "the library of kernels can't run units with streams (no emu_run_system)";
    return false;
  }
  return true;
}

}  // namespace

bool LoadImage(const axlf* top, MemoryListener listener, Image* image, std::string* error) {
  const auto* const topology = FindSection(top, ASK_GROUP_TOPOLOGY, MEM_TOPOLOGY).AsTable<mem_topology, mem_data>();
  const auto* const wires = FindSection(top, ASK_GROUP_CONNECTIVITY, CONNECTIVITY).AsTable<connectivity, connection>();
  const auto* const layout = FindSection(top, IP_LAYOUT).AsTable<ip_layout, ip_data>();
  const Section metadata = FindSection(top, EMBEDDED_METADATA);
  const Section code = FindSection(top, BITSTREAM);
  if (topology == nullptr || layout == nullptr || !metadata || !code) {
    *error = "the xclbin lacks MEM_TOPOLOGY, IP_LAYOUT, EMBEDDED_METADATA or BITSTREAM, or one is cut short";
    return false;
  }
  Image made;
  made.library = KernelLibrary::Load(code.data, code.size, error);
  if (made.library == nullptr) {
    return false;
  }
  ReadBanks(*topology, &made);
  if (!ReadUnits(*layout, wires, ReadMetadata(metadata), &made, error) || !ConnectStreams(&made, error)) {
    return false;
  }
  if (auto* const slot = made.library->Find<MemoryListener>("phidias_sim_memory_listener")) {
    *slot = listener;
  }
  *image = std::move(made);
  return true;
}

}  // namespace phidias::emu
