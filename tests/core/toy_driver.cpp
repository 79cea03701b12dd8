// SPDX-License-Identifier: GPL-2.0-or-later
// Loads the files named as arguments as a committee and evaluates it on four atoms. For
// test_add_a_family.py. Prints, a line each: family and species of the first member; the energy;
// the largest difference between the forces and finite differences of the energy; σ_E; the same
// difference for F_σ.

#include "core/committee/engine.h"
#include "core/error.h"
#include "core/model/model.h"

#include <cmath>
#include <cstdio>

static constexpr int N = 4;

struct Atoms {
  double x[3 * N] = {0.0, 0.1, 0.0, 1.7, 0.2, 0.3, 0.1, 2.1, -0.4, -0.3, 0.6, 2.4};
  int type[N] = {0, 1, 0, 1}, all[N] = {0, 1, 2, 3}, counts[N] = {3, 3, 3, 3}, others[N][N - 1];
  const int *rows[N];

  Atoms() {
    for (int i = 0; i < N; i++) {
      for (int j = 0, k = 0; j < N; j++)
        if (j != i) others[i][k++] = j;
      rows[i] = others[i];
    }
  }
};

struct Values {
  double energy, sigma, forces[3 * N] = {}, sigma_forces[3 * N] = {};
};

static Values evaluate(uq::Engine &engine, const Atoms &atoms) {
  engine.set_atoms(N, atoms.x, atoms.type, N, 0, atoms.all, atoms.counts, atoms.rows, ~0, nullptr);
  Values values;
  values.energy = engine.forward();
  values.sigma = engine.sigma();
  uq::Result mean, sigma;
  mean.forces = values.forces;
  sigma.forces = values.sigma_forces;
  engine.backward({uq::Pass::of_mean(mean), uq::Pass::of_sigma(sigma)});
  return values;
}

int main(int narg, char **arg) {
  try {
    std::vector<uq::Model> models;
    for (int k = 1; k < narg; k++)
      for (uq::Model &model : uq::load_members(uq::read_model_files(arg[k])))
        models.push_back(std::move(model));
    std::printf("%s", models[0].map->family());
    for (const std::string &element : models[0].map->elements())
      std::printf(" %s", element.c_str());
    const std::vector<std::vector<int>> species(models.size(), {0, 1});
    uq::Engine engine(uq::Committee(std::move(models)), species, std::make_unique<uq::NoReducer>(),
                      1.0, false, uq::Evaluator::KEEP);
    Atoms atoms;
    const Values values = evaluate(engine, atoms);
    constexpr double h = 1e-5;
    double difference = 0.0, sigma_difference = 0.0;
    for (int i = 0; i < 3 * N; i++) {
      Atoms ahead, behind;
      ahead.x[i] += h;
      behind.x[i] -= h;
      const Values a = evaluate(engine, ahead), b = evaluate(engine, behind);
      difference =
          std::fmax(difference, std::abs((b.energy - a.energy) / (2 * h) - values.forces[i]));
      sigma_difference = std::fmax(
          sigma_difference, std::abs((b.sigma - a.sigma) / (2 * h) - values.sigma_forces[i]));
    }
    std::printf("\n%.17g\n%.3g\n%.17g\n%.3g\n", values.energy, difference, values.sigma,
                sigma_difference);
  } catch (const uq::Error &error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
}
