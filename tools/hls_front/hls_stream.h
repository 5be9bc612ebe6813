// For tools/check_hls.py: the streams' interface as Vitis HLS has it, without a body. The C simulation has its own.
#pragma once
namespace hls {
template <class T, int kDepth = 0>
class stream;
template <class T>
class stream<T, 0> {
 public:
  explicit stream(const char* name);
  stream(const stream&) = delete;
  stream& operator=(const stream&) = delete;
  T read();
  void write(const T& value);
};
template <class T, int kDepth>
class stream : public stream<T, 0> {
 public:
  explicit stream(const char* name);
};
}  // namespace hls
