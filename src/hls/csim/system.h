#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hls/csim/dataflow.h"
#include "hls/csim/hls_stream.h"

// A card's compute units that exchange streams, in the C simulation: each unit is a stage of one region, so that units
// take turns as the stages within them do, and a stall of all is found and named.
namespace phidias {
namespace hls {
namespace csim {

class System {
 public:
  explicit System(const char* name) : region_((NameKernel(name), new Region())) {}

  // A stream of T between two units; it lives as long as the system.
  template <class T>
  ::hls::stream<T>& AddStream(std::string name, uint32_t depth) {
    auto link = std::make_unique<Link<T>>(std::move(name), depth);
    ::hls::stream<T>& stream = link->stream;
    links_.push_back(std::move(link));
    return stream;
  }
  // `call` runs the unit's top.
  void AddUnit(std::string name, std::function<void()> call) {
    units_.push_back(std::make_unique<Unit>(Unit{std::move(name), std::move(call)}));
    region_->AddStage(units_.back()->name.c_str(), units_.back()->call);
  }
  // Until all units have ended. Throws as Region::Run does.
  // Once *stop is set (if given), a unit that polls memory ends with an error.
  void Run(const bool* stop = nullptr) { region_->Run(stop); }

 private:
  struct AnyLink {
    virtual ~AnyLink() = default;
  };
  template <class T>
  struct Bounded : ::hls::stream<T> {
    Bounded(const char* name, uint32_t depth) : ::hls::stream<T>(name, depth) {}
  };
  template <class T>
  struct Link final : AnyLink {
    Link(std::string link_name, uint32_t depth) : name(std::move(link_name)), stream(name.c_str(), depth) {}
    std::string name;
    Bounded<T> stream;
  };
  struct Unit {
    std::string name;
    std::function<void()> call;
  };

  std::unique_ptr<Region> region_;
  std::vector<std::unique_ptr<AnyLink>> links_;
  std::vector<std::unique_ptr<Unit>> units_;
};

}  // namespace csim
}  // namespace hls
}  // namespace phidias
