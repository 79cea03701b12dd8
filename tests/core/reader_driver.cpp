// SPDX-License-Identifier: GPL-2.0-or-later
// Reads the potentials whose paths stand on the input, one on each line, with names of species
// behind a bar, and evaluates each on five atoms. For test_memory.py, which builds it with
// sanitizers. Prints how many were read and how many refused; an error other than uq::Error, or one
// that does not name its file, is printed and counts as a fault.

#include "core/error.h"
#include "core/model/model.h"
#include "core/parallel/exchange.h"

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

static void evaluate(const uq::Model &model) {
  constexpr int n = 5;
  const double x[3 * n] = {0.0, 0.0, 0.0,  1.1, 1.5, 1.2, -1.4, 1.2,
                           0.3, 0.2, -1.6, 1.9, 2.2, 0.3, -1.8};
  const int nspecies = static_cast<int>(model.map->elements().size());
  const int all[n] = {0, 1, 2, 3, 4}, counts[n] = {4, 4, 4, 4, 4};
  int species[n], others[n][n - 1];
  const int *rows[n];
  for (int i = 0; i < n; i++) {
    species[i] = i % nspecies;
    for (int j = 0, k = 0; j < n; j++)
      if (j != i) others[i][k++] = j;
    rows[i] = others[i];
  }
  uq::IndexExchange exchange(n, all);
  uq::Neighbors neighbors{};
  neighbors.ntotal = neighbors.ncenters = n;
  neighbors.x = x;
  neighbors.species = species;
  neighbors.centers = all;
  neighbors.counts = counts;
  neighbors.neighbors = rows;
  neighbors.mask = -1;
  neighbors.exchange = &exchange;
  const auto state = model.map->new_state();
  std::vector<double> forces(3 * n), grades(n);
  uq::Result result;
  result.forces = forces.data();
  uq::Cotangent cotangent;
  cotangent.shared = model.readout.mean().data();
  cotangent.baseline = 1.0;
  model.map->evaluate(neighbors, *state, cotangent, result);
  if (model.map->has_grades()) model.map->grades(neighbors, *state, grades.data());
}

int main() {
  long read = 0, refused = 0, faults = 0;
  for (std::string line; std::getline(std::cin, line);) {
    const std::string path = line.substr(0, line.find('|'));
    uq::LoadOptions options;
    if (path.size() < line.size()) {
      std::istringstream names(line.substr(path.size() + 1));
      for (std::string name; std::getline(names, name, ',');) options.elements.push_back(name);
    }
    try {
      evaluate(uq::load_model(uq::read_model_files(path), options));
      read++;
    } catch (const uq::Error &error) {
      refused++;
      if (std::string(error.what()).find(path.substr(0, path.rfind('.'))) != std::string::npos)
        continue;
      std::cout << "no name: " << path << ": " << error.what() << "\n";
      faults++;
    } catch (const std::exception &error) {
      std::cout << "fault: " << path << ": " << error.what() << "\n";
      faults++;
    }
  }
  std::cout << read << " " << refused << " " << faults << std::endl;
  return faults ? 1 : 0;
}
