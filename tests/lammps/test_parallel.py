# SPDX-License-Identifier: GPL-2.0-or-later
"""The number of ranks, empty subdomains, tilted and tiny cells do not change the numbers."""

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from crystal import ELEMENTS, atoms, forces, mpirun, positions, posterior_file, run
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pyuq.evaluate.evaluator import Evaluator
from pyuq.potentials.basis import ACEBasis

OUTPUT = """
compute u all uq
compute a all uq/atom energy force relative
compute p all pressure NULL virial
thermo 5
thermo_style custom step pe f_h f_h[*] c_u[*] c_p[*]
thermo_modify format float %.16g
fix n all nve
run 5
write_dump all custom frame id x y z fx fy fz c_a[*] modify sort id format float %.17g
"""
CELLS = {
    "crystal": dict(size=(3, 2, 2)),
    "triclinic": dict(size=(3, 3, 2), tilt=(1.3, -0.8, 0.9)),
    "empty subdomains": dict(size=(2, 2, 2), extra="change_box all x delta 0 30 units box"),
    "smaller than the cutoff": dict(size=(1, 1, 1), rattle=0.05),
}
BIASES = {"global": "tau_rel 0.4 window 3 every 2", "local": "tau 1.0 mode local every 2"}


def from_file(potential, folder, **cell) -> str:
    """Commands that read the crystal from a file: LAMMPS numbers created atoms differently on other ranks."""
    run(atoms(potential, **cell) + "run 0 post no").command(
        f"write_data {folder}/crystal.data nocoeff"
    )
    return f"""
units metal
atom_modify map yes
read_data {folder}/crystal.data
pair_style uq
pair_coeff * * {potential} Al Si
"""


def frame(folder, name: str = "frame") -> np.ndarray:
    """Atom lines of the dump."""
    lines = (folder / name).read_text().splitlines()
    return np.array([line.split() for line in lines[9:]], dtype=float)


def thermo(text: str) -> np.ndarray:
    """Thermo values of the steps, without the step itself."""
    lines = text.splitlines()
    start = next(n for n, line in enumerate(lines) if line.split()[:1] == ["Step"])
    rows = []
    for line in lines[start + 1 :]:
        if line.startswith("Loop"):
            break
        if line.split()[:1] and line.split()[0].isdigit():
            rows.append([float(x) for x in line.split()[1:]])
    return np.array(rows)


# Every family in the cells that differ most; the committee has all families at once.
CASES = [("ace", cell, bias) for cell in CELLS for bias in BIASES]
CASES += [(f, "triclinic", "global") for f in ("nep", "mtp")]
CASES += [(f, "smaller than the cutoff", "local") for f in ("nep", "mtp")]
CASES += [("network", c, b) for c, b in zip(CELLS, 2 * list(BIASES), strict=True)]
CASES += [("committee", "triclinic", "local"), ("committee", "empty subdomains", "local")]
CASES += [("committee", "smaller than the cutoff", "global")]


@pytest.mark.parametrize(("family", "cell", "bias"), CASES)
def test_ranks_agree(families, tmp_path, family, cell, bias):
    commands = from_file(families[family], tmp_path, **CELLS[cell])
    commands += f"fix h all uq/hal {BIASES[bias]}\n" + OUTPUT
    results = []
    for ranks in (1, 2, 4):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        results.append((thermo(mpirun(ranks, commands, folder)), frame(folder)))
    (one, atoms_one), *others = results
    assert np.isfinite(one).all()
    for values, atoms_n in others:
        np.testing.assert_allclose(values, one, rtol=1e-10, atol=1e-9)
        np.testing.assert_allclose(atoms_n, atoms_one, rtol=1e-10, atol=1e-10)


def test_sigma_does_not_depend_on_the_order_of_atoms(tmp_path):
    """σ² is what is left of products 10¹¹ times as large: ranks, which add in other orders, agree nevertheless."""
    potential = posterior_file(tmp_path, "narrow")
    tensors = load_file(potential)
    with safe_open(potential, "numpy") as file:
        metadata = file.metadata()
    # What is known exactly but for one part in 10^11: the features of the very crystal.
    lmp = run(atoms(potential, size=(3, 3, 3)) + "run 0 post no")
    crystal = Atoms(
        [ELEMENTS[t - 1] for t in lmp.gather_atoms("type", 0, 1)],
        positions=positions(lmp),
        cell=[12.15] * 3,
        pbc=True,
    )
    model = Evaluator(potential)
    total = np.zeros(model.model.nreadout)
    features = model.features(crystal)
    for z, element in enumerate(ELEMENTS):
        offset, count = model.model.blocks[z]
        rows = features[crystal.symbols == element]
        total[offset : offset + count] = rows.sum(axis=0)[:count]
    unit = total / np.linalg.norm(total)
    covariance = np.eye(len(unit)) - (1 - 1e-11) * np.outer(unit, unit)
    tensors["covariance"] = (covariance + covariance.T) / 2
    save_file(tensors, potential, metadata)

    commands = from_file(potential, tmp_path, size=(3, 3, 3)) + "compute u all uq\n"
    commands += "thermo_style custom step c_u[1]\nthermo_modify format float %.16g\n"
    commands += "displace_atoms all random 1e-6 1e-6 1e-6 5\nrun 0\n"
    one, *others = (thermo(mpirun(ranks, commands, tmp_path)) for ranks in (1, 2, 3, 4))
    assert one[0, 0] < 1e-4 * np.linalg.norm(total)
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-8)


@pytest.mark.parametrize("family", ["ace", "nep", "mtp", "network", "committee"])
@pytest.mark.parametrize("threads", [1, 2])
def test_atoms_beyond_those_kept_give_the_same_numbers(families, family, threads):
    """`keep 5`: all but five atoms go through the forward pass twice; not those of networks."""
    frames = []
    for keep in ("", "keep 5"):
        script = atoms(families[family], size=(3, 3, 4), pair=f"uq {keep}")
        lmp = run(
            f"package omp {threads}\n{script}fix h all uq/hal tau 2.0 every 2\n"
            + OUTPUT.replace("write_dump", "#")
        )
        frames.append((forces(lmp), *([value] for value in lmp.last_thermo().values())))
    for kept, again in zip(*frames, strict=True):
        np.testing.assert_allclose(again, kept, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("samples", [0, 400])
def test_ranks_and_threads_share_a_large_posterior(tmp_path, samples):
    """A posterior beyond the caches is multiplied in parts, one for each thread of each rank."""
    basis = ACEBasis(ELEMENTS, cutoff=4.5, order=3, degree=(10.0, 8.0, 5.0))
    assert basis.nfunctions > 400
    potential = posterior_file(tmp_path, "large", samples=samples, basis=basis)
    commands = from_file(potential, tmp_path) + "fix h all uq/hal tau 1.0\n" + OUTPUT
    one, *others = (
        thermo(mpirun(ranks, f"package omp {threads}\n" + commands, tmp_path))
        for ranks, threads in ((1, 1), (3, 1), (1, 3), (2, 2))
    )
    for other in others:
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-9)


@pytest.mark.parametrize(
    "bias", ["tau 2.0", "tau 2.0 mode local", None], ids=["global", "local", "plain"]
)
def test_threads_agree(model, bias):
    """One, two or three threads give the same numbers, and the same number of them the same bits."""
    cell = dict(size=(3, 2, 2), tilt=(1.3, -0.8, 0.9))
    script = atoms(model, **cell) + (f"fix h all uq/hal {bias} every 2\n" if bias else "")
    script += "compute e all pe/atom\ncompute w all centroid/stress/atom NULL virial\n"
    script += "compute a all uq/atom energy force\ncompute p all pressure NULL virial\n"
    script += "thermo_style custom pe c_p[*]\nfix n all nve\nrun 4 post no\n"
    frames = []
    for threads in (1, 2, 3, 3):
        lmp = run(f"package omp {threads}\n" + script)
        lmp.command(
            f"write_dump all custom {threads} id fx fy fz c_e c_w[*] c_a[*] "
            "modify sort id format float %.17g"
        )
        frames.append(frame(Path(), str(threads)))
        frames[-1] = np.hstack([frames[-1].ravel(), list(lmp.last_thermo().values())])
    one, two, three, again = frames
    for other in (two, three):
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-10 * np.abs(one).max())
    np.testing.assert_array_equal(again, three)


def test_tiny_cell_equals_supercell(potential):
    """A cell smaller than the cutoff gives the energy per atom of its 3 x 3 x 3 replica, and 3³ its σ."""
    script = atoms(potential, size=(1, 1, 1), rattle=0.05)
    end = "fix h all uq/hal tau 1.0\nthermo_style custom pe f_h[2]\n"
    end += "thermo_modify format float %.16g\nrun 0 post no"
    small = run(script + end)
    large = run(script + "replicate 3 3 3\n" + end)
    for value in ("pe", "f_h[2]"):
        assert large.last_thermo()[{"pe": "PotEng"}.get(value, value)] == pytest.approx(
            27 * small.last_thermo()[{"pe": "PotEng"}.get(value, value)], rel=1e-9
        )


SUBCOMMUNICATORS = """
from mpi4py import MPI
from pyuq.lmp import lammps
world = MPI.COMM_WORLD
part = world.Split(color=world.rank % 2)
l = lammps(comm=part)
l.commands_string(open("in.system").read())
l.command("fix h all uq/hal tau %d" % (1 + world.rank % 2))
l.command("run 0")
energies = world.gather((world.rank % 2, l.get_thermo("pe")))
if world.rank == 0:
    for color, energy in energies:
        print("RESULT", color, "%.15g" % energy)
"""


def test_subcommunicators(potential, tmp_path):
    """Two instances on halves of four ranks, each with its own bias."""
    import subprocess
    import sys

    from pyuq import lmp as launcher

    (tmp_path / "in.system").write_text(atoms(potential))
    (tmp_path / "split.py").write_text(SUBCOMMUNICATORS)
    out = subprocess.run(
        [launcher.mpirun(), "-np", "4", sys.executable, "split.py"],
        cwd=tmp_path,
        env=launcher.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr[-2000:]
    found = [line.split()[1:] for line in out.stdout.splitlines() if line.startswith("RESULT")]
    assert len(found) == 4
    for color, energy in found:
        alone = run(atoms(potential) + f"fix h all uq/hal tau {1 + int(color)}\nrun 0").get_thermo(
            "pe"
        )
        assert float(energy) == pytest.approx(alone, rel=1e-11)


def test_partitions(potential, tmp_path):
    """`-partition` gives each world its own τ."""
    import subprocess

    from pyuq import lmp as launcher

    script = "variable t world 1 2\n" + atoms(potential) + "fix h all uq/hal tau $t\nrun 0\n"
    script += 'variable e equal pe\nprint "RESULT $t $(v_e:%.15g)" file out.$t\n'
    (tmp_path / "in.part").write_text(script)
    command = [
        launcher.mpirun(),
        "-np",
        "2",
        str(launcher.lammps_executable()),
        "-partition",
        "2x1",
        "-in",
        "in.part",
        "-log",
        "none",
        "-screen",
        "none",
    ]
    out = subprocess.run(
        command,
        cwd=tmp_path,
        env=launcher.environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr[-2000:]
    energies = [float((tmp_path / f"out.{t}").read_text().split()[2]) for t in (1, 2)]
    assert energies[1] < energies[0]
