# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether error bars are right, and by which factor they are wrong.

Everything here works on errors and the standard deviations that were predicted for them, whatever model they
come from.
"""

from pyuq.calibration.conformal import ConformalScale
from pyuq.calibration.recalibration import ErrorScale, Recalibration, Sample
from pyuq.calibration.scores import Scores, coverage, reliability, scores
from pyuq.calibration.student import StudentScale

__all__ = [
    "ConformalScale",
    "ErrorScale",
    "Recalibration",
    "Sample",
    "Scores",
    "StudentScale",
    "coverage",
    "reliability",
    "scores",
]
