// SPDX-License-Identifier: GPL-2.0-or-later
// Entry point of the plugin: registers the styles with the host.
//
// Version gate: a plugin compiled against other headers would read LAMMPS's objects at wrong
// offsets. The styles are always registered, so that a host that never uses them is left alone, but
// creating one in another version of LAMMPS is an error.

#include "compute_uq.h"
#include "compute_uq_atom.h"
#include "error.h"
#include "fix_uq_deviation.h"
#include "fix_uq_hal.h"
#include "fix_uq_rom.h"
#include "lammps.h"
#include "pair_uq.h"
#include "plugin_abi.h"

#include <cstdlib>
#include <string>

extern "C" int
lammps_version(void *handle);    // LAMMPS's C library interface, the same in every version

using namespace LAMMPS_NS;

namespace {

void check_version(LAMMPS *lmp) {
  const int host = lammps_version(lmp);
  if (host == UQ_LAMMPS_VERSION || std::getenv("PYUQ_IGNORE_LAMMPS_VERSION")) return;
  lmp->error->all(
      FLERR, "uqplugin.so was compiled for LAMMPS version " + std::to_string(UQ_LAMMPS_VERSION) +
                 ", this is version " + std::to_string(host) +
                 ". Rebuild it with `pyuq build-plugin`, or set PYUQ_IGNORE_LAMMPS_VERSION=1");
}

template <class Style> void *create(void *lmp) {
  check_version(static_cast<LAMMPS *>(lmp));
  return static_cast<Pair *>(new Style(static_cast<LAMMPS *>(lmp)));
}

template <class Style, class Base> void *create(void *lmp, int narg, char **arg) {
  check_version(static_cast<LAMMPS *>(lmp));
  return static_cast<Base *>(new Style(static_cast<LAMMPS *>(lmp), narg, arg));
}

}    // namespace

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *lmp, void *handle,
                                                                         void *regfunc) {
  const auto add = reinterpret_cast<lammpsplugin_regfunc>(regfunc);
  lammpsplugin_t plugin;
  plugin.version = nullptr;    // our own gate compares versions
  plugin.author = "the pyuq developers";
  plugin.handle = handle;

  plugin.style = "pair";
  plugin.name = "uq";
  plugin.info = "pyuq: pair style uq, potentials with error bars";
  plugin.creator.v1 = &create<PairUQ>;
  add(&plugin, lmp);

  plugin.style = "fix";
  plugin.name = "uq/hal";
  plugin.info = "pyuq: fix uq/hal, uncertainty-biased dynamics";
  plugin.creator.v2 = &create<FixUQHAL, Fix>;
  add(&plugin, lmp);

  plugin.name = "uq/rom";
  plugin.info = "pyuq: fix uq/rom, dynamics in a reduced basis";
  plugin.creator.v2 = &create<FixUQROM, Fix>;
  add(&plugin, lmp);

  plugin.name = "uq/deviation";
  plugin.info = "pyuq: fix uq/deviation, spread of a committee";
  plugin.creator.v2 = &create<FixUQDeviation, Fix>;
  add(&plugin, lmp);

  plugin.style = "compute";
  plugin.name = "uq";
  plugin.info = "pyuq: compute uq, global uncertainty";
  plugin.creator.v2 = &create<ComputeUQ, Compute>;
  add(&plugin, lmp);

  plugin.name = "uq/atom";
  plugin.info = "pyuq: compute uq/atom, uncertainty of each atom";
  plugin.creator.v2 = &create<ComputeUQAtom, Compute>;
  add(&plugin, lmp);
}
