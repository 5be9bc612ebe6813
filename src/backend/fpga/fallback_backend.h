#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backend/fpga/fpga_backend.h"

namespace phidias::fpga {

using MakeBackend = std::function<Result<std::unique_ptr<Backend>>()>;

// `card` until it fails, then what `make_host` gives: with the same weights, and each sequence's keys and values made
// anew from its tokens, so that a text goes on as if nothing had happened. `notice` is told why. What the caller asked
// for wrongly, and a request to stop, are no failures of the card.
std::unique_ptr<CardBackend> CreateFallbackBackend(std::unique_ptr<CardBackend> card, MakeBackend make_host,
                                                   std::function<void(const std::string&)> notice);

}  // namespace phidias::fpga
