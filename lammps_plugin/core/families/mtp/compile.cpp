// SPDX-License-Identifier: GPL-2.0-or-later

#include "core/families/mtp/compile.h"

#include "core/error.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <tuple>

using namespace uq;
using namespace uq::mtp;

// ---------------------------------------------------------------------- rows

Rows::Rows(const std::vector<std::vector<Entry>> &entries, const std::vector<int> &level,
           const std::vector<bool> &given) {
  std::vector<int> order(entries.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return level[a] != level[b] ? level[a] < level[b] : entries[a].size() < entries[b].size();
  });
  const auto place = [&](int node) { return static_cast<uint32_t>(node * block_atoms); };
  for (int output : order) {
    if (given[output] && entries[output].empty()) continue;
    for (const Entry &e : entries[output])
      terms_.push_back({e.weight, place(e.left), place(e.right)});
    row_.push_back(place(output));
    adds_.push_back(given[output]);
    size_.push_back(static_cast<int>(entries[output].size()));
  }
}

RowPlan Rows::view() const {
  RowPlan plan;
  plan.nrows = static_cast<int>(row_.size());
  plan.row = row_.data();
  plan.size = size_.data();
  plan.adds = adds_.data();
  plan.terms = terms_.data();
  return plan;
}

// ---------------------------------------------------------------------- core moments

// Radial functions that are in use, by falling degree of their moments.
void Compiled::sort_slots(const Parameters &potential) {
  std::vector<int> degree(potential.nradial, -1);
  for (const BasicMoment &m : potential.basic)
    degree[m.mu] = std::max(degree[m.mu], m.a + m.b + m.c);
  for (int mu = 0; mu < potential.nradial; mu++)
    if (degree[mu] >= 0) slots.push_back(mu);
  std::stable_sort(slots.begin(), slots.end(), [&](int a, int b) { return degree[a] > degree[b]; });
  angular.nslots = static_cast<int>(slots.size());
  for (int s = 0; s < angular.nslots; s++) {
    const int l = degree[slots[s]];
    angular.degree[s] = l;
    angular.ncore += (l + 1) * (l + 1);
    for (int d = 0; d <= l; d++) angular.active[d]++;
  }
}

// Where Horner's order has x^a y^b z^c, c = 0 or 1.
int Compiled::core_node(int slot, int a, int b, int c) const {
  int node = 0;
  for (int s = 0; s < slot; s++) node += (angular.degree[s] + 1) * (angular.degree[s] + 1);
  const int l = angular.degree[slot];
  if (c) node += (l + 1) * (l + 2) / 2;
  const int rows = l - c - b;    // of higher b, with 1 .. rows entries
  return node + rows * (rows + 1) / 2 + rows - a;
}

// The order of accumulate(): degrees, monomials, slots.
void Compiled::place_core() {
  for (int d = 0; d <= max_degree && angular.active[d]; d++)
    for (int e = 0; e <= 2 * d; e++)
      for (int s = 0; s < angular.active[d]; s++) {
        const int b = e / 2, c = e % 2;
        place_.push_back(core_node(s, d - b - c, b, c));
      }
  angular.place = place_.data();
}

// Nodes of the file's basic moments; those with c > 1 are reduced by z² = 1 - x² - y².
std::vector<int> Compiled::basic_nodes(const Parameters &potential) {
  std::map<std::tuple<int, int, int, int>, int> known;
  const auto node = [&](const auto &self, int slot, int a, int b, int c) -> int {
    if (c < 2) return core_node(slot, a, b, c);
    if (const auto found = known.find({slot, a, b, c}); found != known.end()) return found->second;
    const Expansion e = {self(self, slot, a, b, c - 2), self(self, slot, a + 2, b, c - 2),
                         self(self, slot, a, b + 2, c - 2)};
    expansion_.push_back(e);
    return known[{slot, a, b, c}] = angular.ncore + static_cast<int>(expansion_.size()) - 1;
  };
  std::vector<int> slot_of(potential.nradial, -1);
  for (int s = 0; s < angular.nslots; s++) slot_of[slots[s]] = s;
  std::vector<int> nodes;
  for (const BasicMoment &m : potential.basic)
    nodes.push_back(node(node, slot_of[m.mu], m.a, m.b, m.c));
  return nodes;
}

// ---------------------------------------------------------------------- all

Compiled::Compiled(const Parameters &potential) {
  sort_slots(potential);
  place_core();
  radial.rmin = potential.rmin;
  radial.rmax = potential.rmax;
  radial.clamp = potential.repulsive;
  radial.nbasis = potential.nbasis;
  radial.nslots = angular.nslots;

  std::vector<int> node_of = basic_nodes(potential);
  const int nbasic = static_cast<int>(node_of.size());
  const int first = angular.ncore + static_cast<int>(expansion_.size());
  products.ncore = angular.ncore;
  products.nexpanded = static_cast<int>(expansion_.size());
  products.expansion = expansion_.data();
  products.nnodes = first + potential.nmoments - nbasic;
  if (products.nnodes > max_moments)
    throw Error(potential.file + ": the potential needs " + std::to_string(products.nnodes) +
                " moments, expected at most " + std::to_string(max_moments));

  // Moments in the order in which the file completes them.
  std::vector<int> last(potential.nmoments, -1), order(potential.nmoments - nbasic);
  for (size_t t = 0; t < potential.products.size(); t++)
    last[potential.products[t].target] = static_cast<int>(t);
  std::iota(order.begin(), order.end(), nbasic);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return last[a] < last[b]; });
  node_of.resize(potential.nmoments);
  for (size_t k = 0; k < order.size(); k++) node_of[order[k]] = first + static_cast<int>(k);
  for (int moment : potential.scalars) scalars.push_back(node_of[moment]);
  products.nscalars = static_cast<int>(scalars.size());
  products.scalars = scalars.data();

  std::vector<std::vector<Rows::Entry>> forward(products.nnodes), backward(products.nnodes);
  for (const Product &t : potential.products) {
    const int p = node_of[t.p], q = node_of[t.q], target = node_of[t.target];
    forward[target].push_back({p, q, t.weight});
    if (p == q) {
      backward[p].push_back({target, p, 2.0 * t.weight});
    } else {
      backward[p].push_back({target, q, t.weight});
      backward[q].push_back({target, p, t.weight});
    }
  }
  // Products come after their factors; adjoints of factors after those of the products.
  std::vector<int> up(products.nnodes, 0), down(products.nnodes, 0);
  for (int i = 0; i < products.nnodes; i++)
    for (const Rows::Entry &e : forward[i])
      up[i] = std::max({up[i], up[e.left] + 1, up[e.right] + 1});
  for (int i = products.nnodes - 1; i >= 0; i--)
    for (const Rows::Entry &e : backward[i]) down[i] = std::max(down[i], down[e.left] + 1);
  std::vector<bool> summed(products.nnodes, false), seeded(products.nnodes, false);
  std::fill_n(summed.begin(), first, true);
  for (int node : scalars) seeded[node] = true;
  rows_.emplace_back(forward, up, summed);
  rows_.emplace_back(backward, down, seeded);
  products.forward = rows_[0].view();
  products.backward = rows_[1].view();
}
