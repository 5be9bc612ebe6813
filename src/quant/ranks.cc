#include "quant/ranks.h"

#include <cstdlib>

#include "quant/ranks_mpi.h"

namespace phidias {
namespace {

class OneRank final : public Ranks {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Result<std::vector<std::string>> Exchange(const std::string& mine, const std::atomic<bool>*) override {
    return std::vector<std::string>{mine};
  }
  void Abort(int) override {}
};

// The variable by which a launcher that speaks MPI shows itself, or null. MPI itself is only started under one: without
// a launcher its start costs a good part of a second and buys nothing.
const char* LauncherVariable() {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(name) != nullptr) {
      return name;
    }
  }
  return nullptr;
}

// srun started several tasks, but without MPI: each would do the whole work and write the same files.
bool UnconnectedTasks() {
  const char* tasks = std::getenv("SLURM_STEP_NUM_TASKS");
  return tasks != nullptr && std::atoi(tasks) > 1;
}

}  // namespace

std::unique_ptr<Ranks> SingleRank() {
  return std::make_unique<OneRank>();
}

Result<std::unique_ptr<Ranks>> StartRanks() {
  const char* launcher = LauncherVariable();
  if (launcher != nullptr && MpiIsBuiltIn()) {
    return StartMpiRanks();
  }
  const char* size = std::getenv("OMPI_COMM_WORLD_SIZE");
  if (launcher != nullptr && (size == nullptr || std::atoi(size) > 1)) {
    return Unsupported("started as one of several processes (", launcher,
                       " is set), but built without MPI: install libopenmpi-dev and openmpi-bin and build again");
  }
  if (launcher == nullptr && UnconnectedTasks()) {
    return InvalidArgument(
        "srun started several tasks without MPI: use srun --mpi=pmix (srun --mpi=list says what there "
        "is), or mpirun");
  }
  return SingleRank();
}

Result<std::string> FromRankZero(Ranks& ranks, const std::string& text, const std::atomic<bool>* cancel) {
  ASSIGN_OR_RETURN(std::vector<std::string> all, ranks.Exchange(ranks.rank() == 0 ? text : "", cancel));
  return std::move(all[0]);
}

}  // namespace phidias
