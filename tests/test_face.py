# SPDX-License-Identifier: GPL-2.0-or-later
"""The public face: a dozen names, imported when they are used, whose examples run."""

import doctest
import subprocess
import sys
from pathlib import Path

import pytest

import pyuq

ROOT = Path(__file__).parents[1]


def test_examples_of_the_package_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(pyuq, verbose=False)
    assert found.attempted > 15 and not found.failed


def test_import_brings_nothing_heavy():
    """`import lammps` imports this package; it must stay cheap, and torch is for networks only."""
    code = (
        "import sys, pyuq; dir(pyuq); "
        "print(*{'numpy', 'scipy', 'ase', 'torch', 'matplotlib', 'mpi4py', 'lammps'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_no_name_needs_what_only_some_verbs_do():
    """Torch is not ours to keep out: vesin looks for it."""
    code = (
        "import sys, pyuq; "
        "[getattr(pyuq, name) for name in pyuq.__all__]; "
        "print(*{'matplotlib', 'mpi4py', 'lammps'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("name", sorted(pyuq._FACE))
def test_every_name_is_there_and_told(name):
    assert getattr(pyuq, name) is not None and name in dir(pyuq) and name in pyuq.__all__
    assert f"``{name}``" in pyuq.__doc__
    assert f"`pyuq.{name}`" in (ROOT / "docs/python-api.md").read_text()


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        pyuq.nothing  # noqa: B018


def test_results_show_themselves_in_a_notebook():
    """Each result that people look at is a small table, with its title and no whole arrays."""
    import numpy as np

    from pyuq.diffusion import self_diffusivity

    rng = np.random.default_rng(0)
    walk = self_diffusivity(np.cumsum(rng.normal(size=(300, 20, 3)), axis=0), 0.1)
    page = walk._repr_html_()
    assert page.count("<tr>") == 5 and walk.verdict() in page and len(page) < 1500


def test_a_calibration_shows_itself_in_a_notebook():
    import numpy as np

    from pyuq.calibration import Sample
    from pyuq.calibration.judge import calibrate

    rng = np.random.default_rng(0)
    structures = np.repeat(np.arange(20), 30)
    sigmas = rng.uniform(0.5, 2, 600)
    groups = np.where(np.arange(600) % 2, "Ag", "<I>")
    sample = Sample(0.1 * sigmas * rng.normal(size=600), sigmas, groups, structures)
    found = calibrate({"force": sample})
    page = found._repr_html_()
    assert page.count("<tr>") == 3 and "&lt;I&gt;" in page and "conformal 90%: inside" in page
    assert len(repr(found)) < 600
