#include "quant/ranks_mpi.h"

#ifdef PHIDIAS_HAVE_MPI

#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <limits>
#include <numeric>
#include <thread>

namespace phidias {
namespace {

std::string ErrorText(int code) {
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  if (MPI_Error_string(code, text, &length) != MPI_SUCCESS) {
    return StrCat("error ", code);
  }
  return {text, static_cast<size_t>(length)};
}

class MpiRanks final : public Ranks {
 public:
  MpiRanks(int rank, int size) : rank_(rank), size_(size) {}

  ~MpiRanks() override {
    // After an exchange that not all completed, MPI_Finalize would wait for ever.
    if (broken_) {
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
    MPI_Finalize();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Result<std::vector<std::string>> Exchange(const std::string& mine, const std::atomic<bool>* cancel) override;

  void Abort(int exit_code) override {
    if (size_ > 1) {
      MPI_Abort(MPI_COMM_WORLD, exit_code);
    }
  }

 private:
  Status Wait(MPI_Request* request, const std::atomic<bool>* cancel);

  int rank_;
  int size_;
  bool broken_ = false;
};

// Ranks may differ by minutes, so the wait sleeps (MPI's own waits spin) and looks at `cancel`.
Status MpiRanks::Wait(MPI_Request* request, const std::atomic<bool>* cancel) {
  auto pause = std::chrono::microseconds(10);
  while (true) {
    int done = 0;
    const int error = MPI_Test(request, &done, MPI_STATUS_IGNORE);
    if (error != MPI_SUCCESS) {
      broken_ = true;
      return IoError("lost another rank of this run: ", ErrorText(error));
    }
    if (done != 0) {
      return {};
    }
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) {
      broken_ = true;
      return {StatusCode::kCancelled, "stopped while waiting for the other ranks"};
    }
    std::this_thread::sleep_for(pause);
    pause = std::min(pause * 2, std::chrono::microseconds(5000));
  }
}

Result<std::vector<std::string>> MpiRanks::Exchange(const std::string& mine, const std::atomic<bool>* cancel) {
  if (mine.size() > static_cast<size_t>(std::numeric_limits<int>::max() / size_)) {
    return Status(StatusCode::kInternal, StrCat(mine.size(), " bytes for one exchange between ranks"));
  }
  const int length = static_cast<int>(mine.size());
  std::vector<int> lengths(static_cast<size_t>(size_));
  MPI_Request request = MPI_REQUEST_NULL;
  int error = MPI_Iallgather(&length, 1, MPI_INT, lengths.data(), 1, MPI_INT, MPI_COMM_WORLD, &request);
  if (error == MPI_SUCCESS) {
    RETURN_IF_ERROR(Wait(&request, cancel));
    std::vector<int> offsets(lengths.size());
    std::exclusive_scan(lengths.begin(), lengths.end(), offsets.begin(), 0);
    std::string all(static_cast<size_t>(offsets.back() + lengths.back()), '\0');
    error = MPI_Iallgatherv(mine.data(), length, MPI_BYTE, all.data(), lengths.data(), offsets.data(), MPI_BYTE,
                            MPI_COMM_WORLD, &request);
    if (error == MPI_SUCCESS) {
      RETURN_IF_ERROR(Wait(&request, cancel));
      std::vector<std::string> pieces;
      for (size_t i = 0; i < lengths.size(); ++i) {
        pieces.push_back(all.substr(static_cast<size_t>(offsets[i]), static_cast<size_t>(lengths[i])));
      }
      return pieces;
    }
  }
  broken_ = true;
  return IoError("lost another rank of this run: ", ErrorText(error));
}

}  // namespace

bool MpiIsBuiltIn() {
  return true;
}

Result<std::unique_ptr<Ranks>> StartMpiRanks() {
  int error = MPI_Init(nullptr, nullptr);
  if (error != MPI_SUCCESS) {
    return IoError("MPI doesn't start: ", ErrorText(error));
  }
  // Errors come back as codes, so that this program can say what it was doing.
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int rank = 0;
  int size = 1;
  if ((error = MPI_Comm_rank(MPI_COMM_WORLD, &rank)) != MPI_SUCCESS ||
      (error = MPI_Comm_size(MPI_COMM_WORLD, &size)) != MPI_SUCCESS) {
    return IoError("MPI doesn't say how many ranks there are: ", ErrorText(error));
  }
  return std::unique_ptr<Ranks>(std::make_unique<MpiRanks>(rank, size));
}

}  // namespace phidias

#else

namespace phidias {

bool MpiIsBuiltIn() {
  return false;
}

Result<std::unique_ptr<Ranks>> StartMpiRanks() {
  return Unsupported("built without MPI");
}

}  // namespace phidias

#endif
