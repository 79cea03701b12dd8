// SPDX-License-Identifier: GPL-2.0-or-later
// What the pair style keeps of its latest evaluation: the atoms as they were, and results that
// several fixes and computes ask for. A result that was made for an earlier evaluation is stale.

#ifndef LMP_EVALUATION_CACHE_H
#define LMP_EVALUATION_CACHE_H

#include "lmptype.h"

#include "core/committee/engine.h"
#include "uq_forces.h"

#include <vector>

namespace LAMMPS_NS {

class Atom;

class EvaluationCache {
 public:
  // A result and the evaluation that it was made for.
  template <class T> class Kept {
   public:
    explicit Kept(const EvaluationCache &cache) : cache_(cache) {}
    T value;
    bool fresh() const { return made_for_ == cache_.evaluation_; }
    void mark() { made_for_ = cache_.evaluation_; }    // the value is of this evaluation
    void drop() { made_for_ = -1; }

   private:
    const EvaluationCache &cache_;
    bigint made_for_ = -1;
  };

  void start();     // an evaluation begins
  void forget();    // other models: nothing has been evaluated
  bool evaluated() const { return evaluated_; }

  // Positions and tags of owned and ghost atoms. Some fixes move atoms once the forces are known
  // (deform, press/berendsen), but not their ghosts: questions asked later are about these.
  void remember_atoms(const Atom &atom);
  bool same_atoms(const Atom &atom) const;    // on this rank: as many, with the same tags
  const double *x() const { return x_.data(); }

  // Forces of the bias as fix uq/hal wants them; fresh where they are those of σ_E.
  Kept<UQForces> bias_forces{*this};
  Kept<UQForces> sigma_forces{*this};                      // of σ_E, made when asked
  Kept<std::vector<double>> sigma{*this}, grade{*this};    // σ_i, extrapolation grades, [nall]
  Kept<std::vector<double>> noise{*this};                  // learned noise of force labels, [nall]

  // Room for what a pass over atoms is to give of each, zeros; made() when it has.
  uq::Engine::PerAtom room(int nall, bool want_sigma, bool want_grades);
  void made(const uq::Engine::PerAtom &wanted);

  double memory_usage() const;    // bytes

 private:
  bigint evaluation_ = 0;
  bool evaluated_ = false;
  std::vector<double> x_;       // [nall][3]
  std::vector<tagint> tags_;    // [nall]
};

}    // namespace LAMMPS_NS

#endif
