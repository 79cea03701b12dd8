// SPDX-License-Identifier: GPL-2.0-or-later
// The products of a species as the kernels take them (ProductPlan in plan.h): nodes in segments,
// products in tiles.

#ifndef UQ_ACE_LAYOUT_H
#define UQ_ACE_LAYOUT_H

#include "core/families/ace/compile.h"
#include "core/families/ace/graph.h"

#include <map>
#include <utility>
#include <vector>

namespace uq {
namespace ace {

// All Re Π A of an element with their coefficients in each function and density.
struct ProductTable {
  std::map<Factors, int> index;    // canonical factors → Re Π A
  struct Term {
    int function, product;
    std::vector<double> coefficients;    // [density]
  };
  std::vector<Term> terms;
};

ProductTable collect_products(const Species &species);

// Which products of the kernels, with which coefficients, make each Re Π A of a table.
using Expansions = std::vector<std::vector<std::pair<int, double>>>;

// Lays out products: rank 1 first, then those of nodes.
Expansions lay_out_products(const ProductTable &table, const std::vector<BondPlan> &bonds,
                            SpeciesPlan &plan);

}    // namespace ace
}    // namespace uq

#endif
