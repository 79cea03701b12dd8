# SPDX-License-Identifier: GPL-2.0-or-later
"""Tables of logs and fixes, and their pictures."""

import re
from pathlib import Path

import numpy as np
import pytest

from pyuq import plotting
from pyuq.cli import main
from pyuq.errors import InputError
from pyuq.io import thermo
from pyuq.io.thermo import ID, read_labels, read_table
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
    assert main(["plot", *files, "--out", str(picture), "--columns", "max_devi_v"]) == 2
    assert (
        "no column max_devi_v; expected one or more of max_devi_f, avg_devi_f"
        in capsys.readouterr().err
    )
    assert main(["plot", *files, "--out", str(tmp_path / "plot.pdf")]) == 2
    assert "plot.pdf: expected a name that ends in .png" in capsys.readouterr().err
    assert main(["plot", str(tmp_path / "none")]) == 2
    assert f"no file {tmp_path / 'none'}" in capsys.readouterr().err
    (tmp_path / "empty").write_text("nothing\n")
    assert main(["plot", str(tmp_path / "empty")]) == 2
    assert "holds no table" in capsys.readouterr().err


def test_values_of_each_atom_under_one_title(tmp_path):
    """As `fix uq/deviation ... atomic` writes them, also of a frame that is being written."""
    text = "# step max_devi_f atm_devi_f(N)\n0 3 1 2 3\n5 6 4 5 6\n10 7 1\n"
    (tmp_path / "model_devi.out").write_text(text)
    table = read_table(tmp_path / "model_devi.out")
    assert list(table) == ["step", "max_devi_f", "atm_devi_f"]
    assert table["step"] == pytest.approx([0, 5])
    assert table["atm_devi_f"] == pytest.approx(np.array([[1, 2, 3], [4, 5, 6]]))
    out = tmp_path / "plot.png"
    assert main(["plot", str(tmp_path / "model_devi.out"), "--out", str(out)]) == 0
    assert out.is_file()


def test_rows_of_other_lengths_are_refused_with_their_line(tmp_path):
    (tmp_path / "x").write_text("# step f\n0 1\n5 1 2\n10 3 4\n# step f g\n15 1\n20 3\n25 1 2\n")
    assert len(read_table(tmp_path / "x")["step"]) == 3  # rows of another title
    (tmp_path / "x").write_text("# step f atm(N)\n0 1 2 3\n5 1 2\n10 3 4 5\n")
    with pytest.raises(InputError, match="line 3: found 3 numbers, expected 4"):
        read_table(tmp_path / "x")


HEAD = (
    "LAMMPS (22 Jul 2025)\nunits {units}\n{commands}\nPer MPI rank memory allocation 3.1 Mbytes\n"
)


@pytest.mark.parametrize("columns", ["Time Step Temp", "Temp PotEng", "v_a", "Step Temp"])
@pytest.mark.parametrize("broken", [False, True])
def test_logs_whatever_their_first_column(tmp_path, columns, broken):
    names = columns.split()
    rows = [[10.0 * k + j for j in range(len(names))] for k in range(4)]
    text = HEAD.format(units="metal", commands="run 30") + "   " + columns + "   \n"
    text += "".join(" ".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "log").write_text(text if broken else text + "Loop time of 0.1 on 1 procs\n9 9 9\n")
    table = read_table(tmp_path / "log")
    assert list(table) == names
    assert pytest.approx(np.array(rows)) == np.array(list(table.values())).T
    wanted = next((n for n in ("Step", "Time") if n in names), names[0])
    assert plotting.abscissa(table) == wanted


@pytest.mark.parametrize(
    ("units", "temperature", "energy", "distance"),
    [("metal", "K", "eV", "Å"), ("real", "K", "kcal/mol", "Å"), ("lj", "", "", "")],
)
def test_quantities_and_units_from_the_commands_of_a_log(
    tmp_path, units, temperature, energy, distance
):
    commands = (
        "compute u all uq\nfix hal all uq/hal tau_rel 0.2\ncompute other all temp\n"
        "thermo_style custom step temp pe c_u[1] c_u[3] f_hal[7] f_hal[6] c_other\n"
        "thermo_modify colname f_hal[6] who"
    )
    text = HEAD.format(units=units, commands=commands)
    text += (
        "Step Temp PotEng c_u[1] c_u[3] f_hal[7] who c_other\n0 1 2 3 4 5 6 7\n1 2 3 4 9 6 7 8\n"
    )
    (tmp_path / "log").write_text(text)
    assert read_labels(tmp_path / "log") == {
        "Step": ("", ""),
        "Temp": ("", temperature),
        "PotEng": ("", energy),
        "c_u[1]": ("σ_E", energy),
        "c_u[3]": (ID, ""),
        "f_hal[7]": ("shortest distance", distance),
        "who": (ID, ""),
        "c_other": ("", ""),
    }


@pytest.mark.parametrize("style", ["compute uq", "fix uq/hal"])
def test_atom_ids_of_our_vectors_are_those_of_the_docs(style):
    page = Path(__file__).parents[2] / f"docs/styles/{style.replace(' ', '_').replace('/', '_')}.md"
    rows = re.findall(r"^\| ([\d, ]+) \| (.*) \|$", page.read_text(), re.MULTILINE)
    found = {
        int(n)
        for numbers, words in rows
        for n, what in zip(numbers.split(","), words.split(", "), strict=False)
        if what.startswith("ID of")
    }
    assert (
        {k for k, (what, _) in enumerate(thermo._STYLES[style], 1) if what == ID} == found != set()
    )


def test_blocks_of_a_vector(tmp_path):
    """The row above each block is no row of it, though it may be as long."""
    head = "# Time-averaged data for fix a\n# TimeStep Number-of-rows\n# Row c_x\n"
    (tmp_path / "x").write_text(head + "100 2\n1 0.5\n2 0.7\n200 2\n1 0.4\n2 0.6\n")
    table = read_table(tmp_path / "x")
    assert table["Row"] == pytest.approx([1, 2, 1, 2])
    assert table["c_x"] == pytest.approx([0.5, 0.7, 0.4, 0.6])


def drawn(monkeypatch, paths, tmp_path, columns=()) -> list:
    """Axes that `plot_tables` draws."""
    figures = []

    def figure(**options):
        figures.append(original(**options))
        return figures[-1]

    original = plotting.figure
    monkeypatch.setattr(plotting, "figure", figure)
    plotting.plot_tables(paths, tmp_path / "plot.png", columns)
    monkeypatch.undo()
    return figures[0][0].axes


def test_an_atom_id_is_no_curve(tmp_path, monkeypatch):
    commands = "compute u all uq\nthermo_style custom step c_u[1] c_u[3]"
    text = HEAD.format(units="metal", commands=commands)
    text += "Step c_u[1] c_u[3]\n0 0.1 17\n5 0.2 3\n10 0.3 41\n"
    (tmp_path / "log").write_text(text)
    (ax,) = drawn(monkeypatch, [tmp_path / "log"], tmp_path)
    assert ax.get_ylabel() == "c_u[1]\nσ_E (eV)"
    (ax,) = drawn(monkeypatch, [tmp_path / "log"], tmp_path, ["c_u[3]"])
    assert ax.lines[0].get_linestyle() == "None"
    # Of a table without commands it is only known that the numbers are whole.
    (tmp_path / "ave").write_text("# TimeStep c_u[3]\n0 17\n5 3\n10 41\n")
    (ax,) = drawn(monkeypatch, [tmp_path / "ave"], tmp_path)
    assert ax.lines[0].get_linestyle() == "None"


def test_a_line_breaks_where_a_table_begins_again(tmp_path, monkeypatch):
    (tmp_path / "x").write_text("# step f\n0 1.5\n5 2\n10 3\n0 1\n5 1.5\n")
    (ax,) = drawn(monkeypatch, [tmp_path / "x"], tmp_path)
    assert np.isnan(ax.lines[0].get_ydata()).tolist() == [False] * 3 + [True] + [False] * 2
