#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "common/status.h"

namespace phidias {

// The processes of one run, started together by mpirun or srun; usually there is one. They share nothing but what they
// exchange, so results can't depend on how many there are: rows are computed apart and added up in the rows' order.
class Ranks {
 public:
  virtual ~Ranks() = default;
  Ranks() = default;
  Ranks(const Ranks&) = delete;
  Ranks& operator=(const Ranks&) = delete;

  virtual int rank() const = 0;  // 0..size()-1
  virtual int size() const = 0;

  // Every rank gives its piece and gets all pieces, by rank; every rank must call it the same number of times. It waits
  // for the slowest. Errors: cancelled while waiting, MPI says that a rank is lost.
  virtual Result<std::vector<std::string>> Exchange(const std::string& mine,
                                                    const std::atomic<bool>* cancel = nullptr) = 0;

  // Ends the other ranks, and this process with `exit_code`: for a rank that can't go on, since the others would wait
  // for it for ever. Returns where there are no others.
  virtual void Abort(int exit_code) = 0;
};

// One process.
std::unique_ptr<Ranks> SingleRank();

// The ranks of this run: MPI's where a launcher (mpirun, srun) started this process, else SingleRank. Call once, and
// keep it until the end of the process. Errors: started by a launcher, but built without MPI or not reached by it.
Result<std::unique_ptr<Ranks>> StartRanks();

// Rank 0's text on every rank.
Result<std::string> FromRankZero(Ranks& ranks, const std::string& text, const std::atomic<bool>* cancel = nullptr);

}  // namespace phidias
