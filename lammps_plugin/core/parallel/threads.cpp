// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/parallel/threads.h"

#include <algorithm>

using namespace uq;

ThreadTeam::ThreadTeam(int size) : failures_(std::max(size, 1)) {
  for (int t = 1; t < size; t++) workers_.emplace_back([this, t] { work(t); });
}

ThreadTeam::~ThreadTeam() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread &worker : workers_) worker.join();
}

namespace {
struct OtherFailed {};    // what meet() throws; the other thread's exception says why
}    // namespace

void ThreadTeam::attempt(int t) {
  try {
    (*task_)(t);
  } catch (const OtherFailed &) {
  } catch (...) {
    failures_[t] = std::current_exception();
    const std::lock_guard<std::mutex> lock(mutex_);
    failed_ = true;
    all_here_.notify_all();
  }
}

void ThreadTeam::meet() {
  std::unique_lock<std::mutex> lock(mutex_);
  const unsigned long meeting = meetings_;
  if (++here_ == size() && !failed_) {
    here_ = 0;
    meetings_++;
    all_here_.notify_all();
    return;
  }
  all_here_.wait(lock, [&] { return failed_ || meetings_ != meeting; });
  if (meetings_ == meeting) throw OtherFailed();
}

void ThreadTeam::work(int t) {
  unsigned long seen = 0;
  while (true) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_;
    }
    attempt(t);
    const std::lock_guard<std::mutex> lock(mutex_);
    if (--running_ == 0) done_.notify_one();
  }
}

void ThreadTeam::run(const std::function<void(int)> &task) {
  std::fill(failures_.begin(), failures_.end(), nullptr);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    task_ = &task;
    running_ = size() - 1;
    round_++;
    here_ = 0;
    failed_ = false;
  }
  start_.notify_all();
  attempt(0);
  {
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return running_ == 0; });
  }
  for (const std::exception_ptr &failure : failures_)
    if (failure) std::rethrow_exception(failure);
}

// The t-th of `parts` nearly equal ranges of [0, n) begins here.
static size_t begin_of(size_t n, int t, int parts) {
  return n * t / parts;
}

static void add(double *to, const std::vector<double> &from, size_t first, size_t last) {
  if (to)
    for (size_t i = first; i < last; i++) to[i] += from[i];
}

void ThreadTeam::share(const Neighbors &nb, int nresults, Result *results, const Body &body) {
  const int parts = size();
  if (parts == 1) {
    body(0, 0, nb, results);
    return;
  }
  buffers_.resize(static_cast<size_t>(parts - 1) * nresults);
  std::vector<double> energies(static_cast<size_t>(parts) * nresults, 0.0);
  run([&](int t) {
    std::vector<Result> own(results, results + nresults);
    for (int r = 0; r < nresults; r++) {
      own[r].energy = 0.0;
      if (t == 0) continue;
      Buffer &buffer = buffers_[static_cast<size_t>(t - 1) * nresults + r];
      const size_t n = nb.ntotal;
      if (own[r].forces) {
        buffer.forces.assign(3 * n, 0.0);
        own[r].forces = buffer.forces.data();
      }
      if (own[r].vatom) {
        buffer.vatom.assign(9 * n, 0.0);
        own[r].vatom = buffer.vatom.data();
      }
      std::fill_n(buffer.virial, 9, 0.0);
      if (own[r].virial) own[r].virial = buffer.virial;
      // eatom: a centre has one thread
    }
    const size_t first = begin_of(nb.ncenters, t, parts);
    Neighbors share = nb;
    share.centers = nb.centers + first;
    share.ncenters = static_cast<int>(begin_of(nb.ncenters, t + 1, parts) - first);
    body(t, static_cast<int>(first), share, own.data());
    for (int r = 0; r < nresults; r++)
      energies[static_cast<size_t>(t) * nresults + r] = own[r].energy;
  });
  run([&](int t) {
    const size_t first = begin_of(nb.ntotal, t, parts), last = begin_of(nb.ntotal, t + 1, parts);
    for (size_t b = 0; b < buffers_.size(); b++) {
      Result &result = results[b % nresults];
      add(result.forces, buffers_[b].forces, 3 * first, 3 * last);
      add(result.vatom, buffers_[b].vatom, 9 * first, 9 * last);
    }
  });
  for (size_t b = 0; b < buffers_.size(); b++)
    if (results[b % nresults].virial)
      for (int c = 0; c < 9; c++) results[b % nresults].virial[c] += buffers_[b].virial[c];
  for (size_t e = 0; e < energies.size(); e++) results[e % nresults].energy += energies[e];
}
