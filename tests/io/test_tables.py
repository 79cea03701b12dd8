# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of logs and fixes, and their pictures."""

import numpy as np
import pytest

from pyuq.cli import main
from pyuq.io.thermo import read_table
from pyuq.lmp import lammps

LOG = """LAMMPS (22 Jul 2025)
   Step          Temp          PotEng
         0   300           -1.5
        10   310.5         -1.25e0
Loop time of 0.1 on 1 procs
Total wall time
   Step          Temp          Press
        10   310.5          7.0
WARNING: something 1 2 3
        20   320            8.0
"""
DEVIATIONS = """#       step   max_devi_f  avg_devi_f
           0     1.0e-01    2.0e-02
         100     3.0e-01    4.0e-02
"""


def test_runs_of_a_log_are_joined_also_a_broken_one(tmp_path):
    (tmp_path / "log.lammps").write_text(LOG)
    table = read_table(tmp_path / "log.lammps")
    assert list(table) == ["Step", "Temp", "PotEng", "Press"]
    assert table["Step"] == pytest.approx([0, 10, 20])
    assert table["Temp"] == pytest.approx([300, 310.5, 320])
    assert table["PotEng"] == pytest.approx([-1.5, -1.25, np.nan], nan_ok=True)
    assert table["Press"] == pytest.approx([np.nan, 7, 8], nan_ok=True)


def test_a_log_that_lammps_wrote(tmp_path):
    lmp = lammps(cmdargs=["-screen", "none", "-log", str(tmp_path / "log.lammps")])
    lmp.commands_string(
        "units lj\nlattice fcc 0.8\nregion r block 0 3 0 3 0 3\ncreate_box 1 r\ncreate_atoms 1 box\n"
        "mass 1 1\npair_style lj/cut 2.5\npair_coeff 1 1 1 1\nvelocity all create 1 1\nfix 1 all nve\n"
        "thermo 5\nrun 10\nrun 5"
    )
    energy = lmp.get_thermo("pe")
    lmp.close()
    table = read_table(tmp_path / "log.lammps")
    assert table["Step"] == pytest.approx([0, 5, 10, 15])
    assert table["E_pair"][-1] == pytest.approx(energy, rel=1e-5)


def test_comment_line_names_the_columns(tmp_path):
    (tmp_path / "ave").write_text(
        "# Time-averaged data for fix a\n# TimeStep c_1 f_2[3]\n1 2 3\n4 5 6\n"
    )
    table = read_table(tmp_path / "ave")
    assert list(table) == ["TimeStep", "c_1", "f_2[3]"]
    assert table["f_2[3]"] == pytest.approx([3, 6])


def test_plot(tmp_path, capsys):
    (tmp_path / "a.out").write_text(DEVIATIONS)
    (tmp_path / "b.out").write_text(DEVIATIONS.replace("3.0e-01", "5.0e-01"))
    files = [str(tmp_path / name) for name in ("a.out", "b.out")]
    picture = tmp_path / "plot.png"
    assert main(["plot", *files, "--out", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert main(["plot", *files, "--out", str(picture), "--columns", "max_devi_v"]) == 1
    assert (
        "no column max_devi_v; expected one or more of max_devi_f, avg_devi_f"
        in capsys.readouterr().err
    )
    assert main(["plot", *files, "--out", str(tmp_path / "plot.pdf")]) == 1
    assert "plot.pdf: expected a name that ends in .png" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none")]) == 1
    assert f"no file {tmp_path / 'none'}" in capsys.readouterr().err
    (tmp_path / "empty").write_text("nothing\n")
    assert main(["plot", str(tmp_path / "empty")]) == 1
    assert "holds no table" in capsys.readouterr().err
