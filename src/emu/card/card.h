#pragma once

// The emulated card behind one XRT device handle: device memory, a thread and a queue per compute unit, and checks that
// a real card doesn't make. Runs are the ERT packets that XRT writes; a kernel is a C++ function from the library in
// the xclbin. Units that exchange streams run in one thread, as stages of one dataflow region.
//
// Locking: mutex_ guards everything but a kernel's own work. A run's pointers are checked and translated under it.

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "emu/card/device_memory.h"
#include "emu/card/image.h"
#include "emu/card/recorder.h"
#include "emu/card/settings.h"

struct ert_start_kernel_cmd;
struct ert_start_copybo_cmd;
struct ert_abort_cmd;

namespace phidias::emu {

// Device memory that a run may touch: from the argument's address to the end of its buffer.
struct Access {
  uint64_t begin = 0;
  uint64_t end = 0;
  bool writes = false;
};

struct Buffer {
  unsigned flags = 0;
  uint64_t size = 0;
  uint64_t address = 0;
  uint64_t device_bytes = 0;  // 0: a command buffer, which the card's memory doesn't hold
  char* host = nullptr;       // null: device only
  bool owns_host = false;
};

class Card {
 public:
  explicit Card(Settings settings);
  Card(const Card&) = delete;
  Card& operator=(const Card&) = delete;
  ~Card();

  // Functions that XRT's C interface needs return 0 or a negative errno.

  int LoadXclbin(const axlf* top);
  // `user`: the host memory to use, or null. 0: no buffer (the reason is on stderr).
  unsigned AllocateBuffer(void* user, uint64_t size, unsigned flags);
  void FreeBuffer(unsigned handle);
  std::optional<Buffer> FindBuffer(unsigned handle);
  int Sync(unsigned handle, bool to_device, uint64_t size, uint64_t offset);
  int Copy(unsigned to, unsigned from, uint64_t size, uint64_t to_offset, uint64_t from_offset);
  int Execute(unsigned handle);
  // One completed command, or 0 after the time is over: the driver's poll().
  int WaitForCompletion(int milliseconds);

  std::string Report();
  static std::string LatestReport();

 private:
  struct Job {
    unsigned handle = 0;
    ert_start_kernel_cmd* packet = nullptr;
    const uint32_t* registers = nullptr;
    unsigned words = 0;
    std::vector<Access> accesses;
  };
  struct Unit {
    UnitImage image;
    std::vector<int> views;  // by argument; -1: a scalar
    std::thread thread;
    std::deque<Job> queue;
    std::optional<Job> running;
    bool abort_running = false;
    bool broken = false;  // a run was aborted in the middle: every later one fails
    uint64_t submitted = 0;
    std::mt19937_64 random;
  };
  // A job's arguments as the kernel takes them.
  struct Call {
    std::vector<void*> values;
    bool ok = true;
  };
  // The units that exchange streams: they run together, once each of them that is started has been.
  struct System {
    std::vector<StreamImage> streams;
    EmuRunSystem* run = nullptr;
    std::map<const Unit*, void**> calls;  // those started, with their arguments
    uint64_t ended = 0;                   // how often it has run to its end
    std::string error;                    // of the last time
    bool stop = false;                    // read atomically by units that poll memory
  };
  struct CountedFault {
    Fault fault;
    uint64_t seen = 0;
  };

  void Unload();
  bool CreateUnits(Image image);
  void CreateCounts();
  static void OnMemory(const volatile void* address, uint64_t bytes, bool write);
  void CountMemory(const volatile void* address, uint64_t bytes, bool write);
  bool Strikes(FaultKind kind, const std::string& target);
  void Warn(const std::string& what) const;

  // Buffers (card_buffers.cc).
  bool PlaceBuffer(uint64_t size, Buffer* buffer);
  Buffer* Lookup(unsigned handle);
  void CheckIdle(uint64_t begin, uint64_t end, const std::string& what);
  void CheckCopy(const Buffer& to, const Buffer& from, uint64_t size);

  // Runs (card_runs.cc).
  int Start(unsigned handle, ert_start_kernel_cmd* packet);
  int StartCopy(ert_start_copybo_cmd* packet);
  int Abort(ert_abort_cmd* packet);
  Unit* ChooseUnit(const ert_start_kernel_cmd& packet);
  std::vector<Access> AccessesOf(const Unit& unit, const Job& job);
  void CheckHazards(const Unit& unit, const Job& job);
  Call Translate(const Unit& unit, const Job& job);
  void* TranslateMemory(const Unit& unit, const Job& job, size_t index);
  void CountOverlap(const Unit& unit, const Job& job);
  void Loop(Unit* unit);
  unsigned Run(Unit* unit, const Job& job, std::unique_lock<std::mutex>* lock);
  unsigned RunKernel(Unit* unit, Call call, std::unique_lock<std::mutex>* lock);
  void Complete(void* packet, unsigned state);

  // Units with streams (card_system.cc).
  static bool HasStreams(const UnitImage& unit);
  void RunTogether(Unit* unit, void** values);
  std::string RunSystem(const std::map<const Unit*, void**>& calls);
  void StopSystem();

  const Settings settings_;
  Violations violations_;
  Trace trace_;
  std::vector<CountedFault> faults_;

  std::mutex mutex_;
  std::condition_variable work_;
  std::condition_variable done_;
  bool stopping_ = false;
  unsigned completions_ = 0;
  DeviceMemory memory_;
  std::unique_ptr<StrayAccessReporter> reporter_;
  std::shared_ptr<KernelLibrary> library_;
  std::vector<std::unique_ptr<Unit>> units_;
  std::map<unsigned, Buffer> buffers_;
  unsigned next_handle_ = 1;
  System system_;
  Counts counts_;
  std::vector<PortCount*> count_of_view_;
};

}  // namespace phidias::emu
