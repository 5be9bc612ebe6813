#pragma once

#include <cstddef>
#include <cstdint>

// What a simulated stream is apart from its elements: counters, and waiting. hls_stream.h puts a ring on top.
namespace phidias {
namespace hls {
namespace csim {

class Channel {
 public:
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;

  const char* name() const { return name_; }
  uint64_t size() const { return tail_ - head_; }
  uint64_t depth() const { return depth_; }
  bool empty() const { return size() == 0; }
  bool full() const { return size() == depth_; }

 protected:
  // Between PHIDIAS_DATAFLOW and PHIDIAS_RUN, the stream becomes one of that region.
  Channel(const char* name, uint32_t depth);
  ~Channel() = default;

  // Not inline, so that a kernel's object needs nothing of the C++ library (tools/check_hls.py lists its symbols).
  static void* Allocate(size_t bytes);
  static void Free(void* memory);

  // Return once there is an element to read, or room for one more.
  void AwaitElement();
  void AwaitRoom();

  const char* name_;
  uint32_t depth_;
  uint64_t head_ = 0;  // elements read so far
  uint64_t tail_ = 0;  // elements written so far
};

}  // namespace csim
}  // namespace hls
}  // namespace phidias
