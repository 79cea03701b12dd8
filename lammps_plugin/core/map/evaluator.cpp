// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/map/evaluator.h"

#include "core/parallel/exchange.h"

#include <algorithm>
#include <limits>

using namespace uq;

static constexpr int AGAIN = 1024;    // centres of a piece that is made again: stays in the cache

namespace {

// The threads of a rank exchange as ranks do: each has values of its own, of which the rows of its
// centres count. The first one's go through the exchange between ranks.
class TeamExchange : public Exchange {
 public:
  // share: of thread t; values [threads], common to the team
  TeamExchange(ThreadTeam &team, const Neighbors &share, std::vector<double *> &values, int t)
      : team_(team), share_(share), values_(values), t_(t) {}

  void forward(int width, double *values) override {
    gather(values);
    if (t_ > 0) copy_centers(width, values, values_[0]);
    team_.meet();
    if (t_ == 0) share_.exchange->forward(width, values);
    team_.meet();
    if (t_ > 0) std::copy_n(values_[0], size(width), values);
    team_.meet();    // the first one is free to go on
  }

  void reverse(int width, double *values) override {
    gather(values);
    const size_t parts = values_.size(), first = size(width) * t_ / parts,
                 last = size(width) * (t_ + 1) / parts;
    for (size_t t = 1; t < parts; t++)
      for (size_t i = first; i < last; i++) values_[0][i] += values_[t][i];
    team_.meet();
    if (t_ == 0) share_.exchange->reverse(width, values);
    team_.meet();
    if (t_ > 0) copy_centers(width, values_[0], values);
    team_.meet();    // likewise
  }

 private:
  ThreadTeam &team_;
  const Neighbors &share_;
  std::vector<double *> &values_;
  int t_;

  size_t size(int width) const { return static_cast<size_t>(share_.ntotal) * width; }
  void gather(double *values) {
    values_[t_] = values;
    team_.meet();
  }
  void copy_centers(size_t width, const double *from, double *to) const {
    for (int k = 0; k < share_.ncenters; k++)
      std::copy_n(from + width * share_.centers[k], width, to + width * share_.centers[k]);
  }
};

}    // namespace

Evaluator::Evaluator(const FeatureMap &map, ThreadTeam &team, int keep)
    : map_(&map), team_(&team), keep_(std::max(keep / team.size(), 1)), seen_(team.size()),
      messages_(team.size()) {
  for (int t = 0; t < team.size(); t++) states_.push_back(map.new_state());
}

// Relays, whose messages are made anew, belong to all centres: no threads then.
void Evaluator::share(const Neighbors &nb, int nresults, Result *results,
                      const ThreadTeam::Body &body) {
  const bool passes = map_->exchange_width() > 0;
  active_ = passes && !nb.exchange ? 1 : states_.size();
  if (active_ == 1) return body(0, 0, nb, results);
  if (!passes) return team_->share(nb, nresults, results, body);
  team_->share(nb, nresults, results, [&](int t, int first, const Neighbors &share, Result *own) {
    TeamExchange exchange(*team_, share, messages_, t);
    Neighbors mine = share;
    mine.exchange = &exchange;
    body(t, first, mine, own);
  });
}

// Divides the centres of one thread into pieces: first those that backward() evaluates again, then
// the one whose intermediate values are kept.
std::vector<Evaluator::Piece> Evaluator::pieces(int ncenters) const {
  std::vector<Piece> pieces;
  const int kept = map_->exchange_width() > 0 ? ncenters : std::min(keep_, ncenters),
            again = ncenters - kept;
  for (int first = 0; first < again; first += AGAIN)
    pieces.push_back({first, std::min(AGAIN, again - first)});
  pieces.push_back({again, kept});
  return pieces;
}

Neighbors Evaluator::part(const Neighbors &share, const Piece &piece) {
  if (piece.count == share.ncenters) return share;
  Neighbors part = share;
  part.centers += piece.first;
  part.ncenters = piece.count;
  return part;
}

void Evaluator::start(int t) {
  seen_[t] = {std::numeric_limits<double>::infinity(), 0.0, -1};
}

// What a forward pass over a piece has left; energies: it is the first one over it.
void Evaluator::note(int t, const Piece &piece, bool energies) {
  const FeatureMap::State &state = *states_[t];
  seen_[t].min_distance = std::min(seen_[t].min_distance, state.min_distance);
  if (energies) seen_[t].baseline_energy += state.baseline_energy;
  seen_[t].held = piece.first;
}

// The cotangent of the centres from `first`.
Cotangent Evaluator::part(const Cotangent &cotangent, int first) const {
  Cotangent part = cotangent;
  if (cotangent.per_atom) part.per_atom += static_cast<size_t>(first) * map_->max_features();
  if (cotangent.baseline_per_atom) part.baseline_per_atom += first;
  return part;
}

void Evaluator::forward(const Neighbors &nb, double *sum, double *per_atom) {
  const size_t m = map_->nreadout();
  sums_.assign(sum ? (states_.size() - 1) * m : 0, 0.0);
  share(nb, 0, nullptr, [&](int t, int first, const Neighbors &share, Result *) {
    double *own = !sum || t == 0 ? sum : &sums_[(t - 1) * m];
    double *rows =
        per_atom ? per_atom + static_cast<size_t>(first) * map_->max_features() : nullptr;
    start(t);
    const std::vector<Piece> pieces = this->pieces(share.ncenters);
    for (const Piece &piece : pieces) {
      if (!sum && !per_atom && &piece != &pieces.back()) continue;
      double *out = rows ? rows + static_cast<size_t>(piece.first) * map_->max_features() : nullptr;
      map_->forward(part(share, piece), *states_[t], own, out);
      note(t, piece, true);
    }
  });
  for (size_t i = 0; i < sums_.size(); i++) sum[i % m] += sums_[i];
}

void Evaluator::backward(const Neighbors &nb, int ncotangents, const Cotangent *cotangents,
                         Result *results) {
  share(nb, ncotangents, results, [&](int t, int first, const Neighbors &share, Result *own) {
    const std::vector<Piece> pieces = this->pieces(share.ncenters);
    for (size_t p = pieces.size(); p-- > 0;) {    // the last one is kept
      const Neighbors centers = part(share, pieces[p]);
      if (seen_[t].held != pieces[p].first) {
        map_->forward(centers, *states_[t], nullptr, nullptr);
        note(t, pieces[p], false);
      }
      std::vector<Cotangent> parts;
      for (int s = 0; s < ncotangents; s++)
        parts.push_back(part(cotangents[s], first + pieces[p].first));
      map_->backward(centers, *states_[t], ncotangents, parts.data(), own);
    }
  });
}

void Evaluator::evaluate(const Neighbors &nb, const Cotangent &cotangent, Result &result) {
  share(nb, 1, &result, [&](int t, int first, const Neighbors &share, Result *own) {
    start(t);
    map_->evaluate(share, *states_[t], part(cotangent, first), *own);
    note(t, {-1, 0}, true);
  });
}

double Evaluator::min_distance() const {
  double distance = seen_[0].min_distance;
  for (size_t t = 1; t < active_; t++) distance = std::min(distance, seen_[t].min_distance);
  return distance;
}

double Evaluator::baseline_energy() const {
  double energy = 0.0;
  for (size_t t = 0; t < active_; t++) energy += seen_[t].baseline_energy;
  return energy;
}

std::vector<double> Evaluator::baseline_energies() const {
  std::vector<double> energies;
  for (size_t t = 0; t < active_; t++)
    energies.insert(energies.end(), states_[t]->baseline_energies.begin(),
                    states_[t]->baseline_energies.end());
  return energies;
}
