// SPDX-License-Identifier: GPL-2.0-or-later
// What the readers of the YAML formats of ACE share.

#ifndef UQ_FILES_YACE_H
#define UQ_FILES_YACE_H

#include "core/families/ace/parameters.h"
#include "core/formats/yaml.h"

namespace uq {
namespace ace {

double number_or(const YamlView &node, const char *key, double fallback);
InnerCutoff inner_cutoff(const YamlView &bond);

// radcoefficients[n][l][k] of a bond whose numbers of functions are known.
void read_radial_coefficients(const YamlView &node, Bond &bond);

// Weights and exponents out of the flat list of `node`.
std::vector<Density> read_densities(const YamlView &node, int ndensity);

// Pacemaker's B-basis: functions by their angular momenta, coupled here.
Parameters read_bbasis(const std::string &file, const YamlView &top);

}    // namespace ace
}    // namespace uq

#endif
