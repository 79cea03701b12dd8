# SPDX-License-Identifier: GPL-2.0-or-later
"""The verbs of the command line: settings in, report and pictures out. Nothing else imports them."""
