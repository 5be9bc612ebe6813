#include "serve/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <chrono>
#include <mutex>
#include <optional>

#include "serve/energy.h"

namespace phidias::serve {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using Buckets = Histogram::BucketBoundaries;

const Buckets& ShortTimes() {  // a token
  static const Buckets kBuckets = {.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};
  return kBuckets;
}
const Buckets& LongTimes() {  // a request
  static const Buckets kBuckets = {.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 60, 120, 300};
  return kBuckets;
}

}  // namespace

struct ServeMetrics::Impl {
  prometheus::Registry registry;

  Counter& MakeCounter(const char* name, const char* help) {
    return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add({});
  }
  Gauge& MakeGauge(const char* name, const char* help) {
    return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
  }
  Histogram& MakeHistogram(const char* name, const char* help, const Buckets& buckets) {
    return prometheus::BuildHistogram().Name(name).Help(help).Register(registry).Add({}, buckets);
  }

  prometheus::Family<Counter>& requests = prometheus::BuildCounter()
                                              .Name("phidias_requests_total")
                                              .Help("Answers, by endpoint and status; 499: the client left first")
                                              .Register(registry);
  Gauge& processing = MakeGauge("phidias_requests_processing", "Requests that the engine works on");
  Gauge& waiting = MakeGauge("phidias_requests_waiting", "Requests in the queue");
  Gauge& sequences = MakeGauge("phidias_sequences", "Texts in the works");
  Gauge& connections = MakeGauge("phidias_connections", "Open connections");
  Counter& steps = MakeCounter("phidias_steps_total", "Steps of the engine");
  Counter& prompt_tokens = MakeCounter("phidias_prompt_tokens_total", "Tokens of prompts that were begun");
  Counter& cached_tokens =
      MakeCounter("phidias_prompt_tokens_cached_total", "Of these, tokens that were found in a KV cache");
  Counter& generated = MakeCounter("phidias_generated_tokens_total", "Tokens that were generated");
  Gauge& kv_used = MakeGauge("phidias_kv_positions_used", "Positions filled in KV caches of texts in the works");
  Gauge& kv_held = MakeGauge("phidias_kv_positions_held", "Positions kept in KV caches that no request uses");
  Gauge& kv_bytes = MakeGauge("phidias_kv_bytes", "Address space of the KV caches; memory is taken as they fill");
  Gauge& parallel = MakeGauge("phidias_parallel", "Texts that may run at a time");
  Gauge& context = MakeGauge("phidias_context_positions", "Context of each of them");
  Histogram& request_seconds = MakeHistogram("phidias_request_seconds", "From a request to its last byte", LongTimes());
  Histogram& queue_seconds = MakeHistogram("phidias_queue_seconds", "From a request to its begin", LongTimes());
  Histogram& first_token =
      MakeHistogram("phidias_time_to_first_token_seconds", "From a request to its first token", LongTimes());
  Histogram& between_tokens = MakeHistogram("phidias_inter_token_seconds", "Between tokens of a text", ShortTimes());

  // Only where the system tells.
  std::mutex energy_mutex;
  EnergyMeter meter;
  Counter* joules = nullptr;
  Gauge* watts = nullptr;
  Gauge* joules_per_token = nullptr;
  double last_joules = 0;
  double last_tokens = 0;
  std::chrono::steady_clock::time_point last_time = std::chrono::steady_clock::now();

  // Watts and joules per token are those between two looks at the metrics.
  void UpdateEnergy() {
    const std::lock_guard lock(energy_mutex);
    const std::optional<double> total = meter.Joules();
    if (!total.has_value()) {
      return;
    }
    if (joules == nullptr) {
      joules = &MakeCounter("phidias_energy_joules_total", "Energy of the processor packages since the start");
      watts = &MakeGauge("phidias_power_watts", "Their power since the last look at the metrics");
      joules_per_token =
          &MakeGauge("phidias_joules_per_token", "Energy per generated token since the last look; 0 without tokens");
    }
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_time).count();
    const double tokens = generated.Value() - last_tokens;
    const double spent = *total - last_joules;
    joules->Increment(spent);
    watts->Set(seconds > 0 ? spent / seconds : 0);
    joules_per_token->Set(tokens > 0 ? spent / tokens : 0);
    last_joules = *total;
    last_tokens = generated.Value();
    last_time = now;
  }
};

ServeMetrics::ServeMetrics() : impl_(std::make_unique<Impl>()) {}
ServeMetrics::~ServeMetrics() = default;

void ServeMetrics::OnRequest(std::string_view endpoint, int status, double seconds) {
  impl_->requests.Add({{"endpoint", std::string(endpoint)}, {"status", std::to_string(status)}}).Increment();
  impl_->request_seconds.Observe(seconds);
}

void ServeMetrics::OnQueue(int64_t running, int64_t waiting) {
  impl_->processing.Set(static_cast<double>(running));
  impl_->waiting.Set(static_cast<double>(waiting));
}

void ServeMetrics::OnBegun(double waited, int64_t prompt_tokens, int64_t cached) {
  impl_->queue_seconds.Observe(waited);
  impl_->prompt_tokens.Increment(static_cast<double>(prompt_tokens));
  impl_->cached_tokens.Increment(static_cast<double>(cached));
}

void ServeMetrics::OnTokens(int64_t tokens, bool first, double seconds) {
  impl_->generated.Increment(static_cast<double>(tokens));
  if (first) {
    impl_->first_token.Observe(seconds);
    return;
  }
  for (int64_t i = 0; i < tokens; ++i) {
    impl_->between_tokens.Observe(seconds / static_cast<double>(tokens));
  }
}

void ServeMetrics::OnStep() {
  impl_->steps.Increment();
}

void ServeMetrics::OnKv(int64_t sequences, int64_t used, int64_t held, int64_t bytes) {
  impl_->sequences.Set(static_cast<double>(sequences));
  impl_->kv_used.Set(static_cast<double>(used));
  impl_->kv_held.Set(static_cast<double>(held));
  impl_->kv_bytes.Set(static_cast<double>(bytes));
}

void ServeMetrics::OnModel(int64_t parallel, int64_t context) {
  impl_->parallel.Set(static_cast<double>(parallel));
  impl_->context.Set(static_cast<double>(context));
}

std::string ServeMetrics::Text(int64_t connections) {
  impl_->connections.Set(static_cast<double>(connections));
  impl_->UpdateEnergy();
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace phidias::serve
