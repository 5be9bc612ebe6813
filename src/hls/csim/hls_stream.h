#pragma once

#include "hls/csim/channel.h"

// A small stand-in for Vitis's hls_stream.h: a bounded FIFO with one producer and one consumer, for the C simulation.
// Never on Vitis's include path. Differences from Vitis's own C simulation, which is unbounded and sequential: a write
// to a full stream and a read from an empty one wait for the other stage, and waiting for good is a fault that names
// the stream (hls/csim/dataflow.h).
namespace hls {

template <class T, int kDepth = 0>
class stream;  // NOLINT(readability-identifier-naming): Vitis's name

// A stream of any depth, as functions take it.
template <class T>
class stream<T, 0> : public phidias::hls::csim::Channel {  // NOLINT(readability-identifier-naming)
 public:
  // Two elements, as a stream without a depth has in hardware.
  explicit stream(const char* name) : stream(name, 2) {}
  ~stream() { Free(ring_); }
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;

  T read() {
    if (head_ == tail_) {
      AwaitElement();
    }
    const T value = ring_[read_slot_];
    read_slot_ = read_slot_ + 1 == depth_ ? 0 : read_slot_ + 1;
    ++head_;
    return value;
  }

  void write(const T& value) {
    if (tail_ == head_ + depth_) {
      AwaitRoom();
    }
    ring_[write_slot_] = value;
    write_slot_ = write_slot_ + 1 == depth_ ? 0 : write_slot_ + 1;
    ++tail_;
  }

 protected:
  stream(const char* name, uint32_t depth)
      : Channel(name, depth), ring_(static_cast<T*>(Allocate(sizeof(T) * depth))) {}

 private:
  T* ring_;  // slots are written before they are read; T is a word, a number, or a struct of such
  uint32_t read_slot_ = 0;
  uint32_t write_slot_ = 0;
};

template <class T, int kDepth>
class stream : public stream<T, 0> {  // NOLINT(readability-identifier-naming)
  static_assert(kDepth > 0, "a stream holds at least one element");

 public:
  explicit stream(const char* name) : stream<T, 0>(name, kDepth) {}
};

}  // namespace hls
