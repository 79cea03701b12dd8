# SPDX-License-Identifier: GPL-2.0-or-later
"""What reading a model finds, in LAMMPS as in Python: versions of GPUMD, warnings, active sets, blocks kept."""

import hashlib
import io
import re

import numpy as np
import pytest
from crystal import atoms, run
from naive_nep import nep_text
from safetensors.numpy import save
from test_grades import structure

from pyuq.evaluate.committee import Committee
from pyuq.evaluate.evaluator import Evaluator

BBASIS = """species:
  - {{speciesblock: Al, ndensityi: 1, npoti: FinnisSinclair, parameters: [1, 1], {radial},
     nbody: [{{type: Al Al, nr: [1], nl: [0], c: [0.4]}}, {{type: Al Si, nr: [2], nl: [0], c: [0.3]}},
             {{type: Al Al Si, nr: [1, 1], nl: [1, 1], c: [0.2]}}]}}
  - {{speciesblock: Si, ndensityi: 1, npoti: FinnisSinclair, parameters: [1, 1], {radial},
     nbody: [{{type: Si Al, nr: [1], nl: [0], c: [0.5]}}, {{type: Si Si Si, nr: [1, 1], nl: [2, 2], c: [0.1]}}]}}
  - {{speciesblock: Al Si, {radial}}}
"""
RADIAL = (
    "nradmaxi: 1, lmaxi: 2, rcutij: 4.0, dcutij: 0.1, nradbaseij: 2, radbase: {base}, "
    "radparameters: [2.0], radcoefficients: [[[1, 0], [0, 1], [0.5, 0.5]]]"
)


def bbasis(base):
    return BBASIS.format(radial=RADIAL.format(base=base))


def energy(path, lmp):
    return Evaluator(path).compute(structure(lmp))["energy"]


def test_version_of_gpumd(tmp_path):
    """The same name means the same potential in LAMMPS and in Python; without it, both ask."""
    path = tmp_path / "nep.txt"
    path.write_text(nep_text(elements=("Si", "Al"), l_max="4 0 1 1 1"))
    message = "GPUMD 5.3 writes it for q_1122.*FILE:gpumd=5.3 or FILE:gpumd=5.4"
    with pytest.raises(RuntimeError, match=message):
        Evaluator(path)
    with pytest.raises(Exception, match=message):
        run(atoms(path))
    found = []
    for version in ("5.3", "5.6"):
        lmp = run(atoms(f"{path}:gpumd={version}") + "run 0 post no")
        found.append(lmp.get_thermo("pe"))
        assert found[-1] == pytest.approx(energy(f"{path}:gpumd={version}", lmp), rel=1e-12)
    assert abs(found[0] - found[1]) > 1e-5


def test_warnings_of_reading(tmp_path):
    (tmp_path / "linear.yaml").write_text(bbasis("ChebLinear"))
    (tmp_path / "pow.yaml").write_text(bbasis("ChebPow"))
    logs = {}
    for name in ("linear", "pow"):
        run(
            f"log {tmp_path}/{name}.log\n"
            + atoms(tmp_path / f"{name}.yaml")
            + "run 0 post no\nlog none"
        )
        logs[name] = (tmp_path / f"{name}.log").read_text()
    found = re.findall(
        r"WARNING: pair uq: .*linear\.yaml: radial functions of (.*) do not", logs["linear"]
    )
    assert found == ["Al-Al Al-Si Si-Al Si-Si"]
    assert "WARNING: pair uq" not in logs["pow"]


def test_active_set_of_pacemaker(tmp_path):
    path, rng, file = tmp_path / "alsi.yaml", np.random.default_rng(6), io.BytesIO()
    path.write_text(bbasis("ChebPow"))
    np.savez(file, Al=rng.normal(size=(3, 3)), Si=rng.normal(size=(2, 2)))
    (tmp_path / "alsi.asi").write_bytes(file.getvalue())
    lmp = run(
        atoms(path) + "compute g all uq/atom grade\nfix s all pair 1 uq grade 1\nrun 0 post no"
    )
    grades = np.array(lmp.gather("c_g", 1, 1))
    evaluator, system = Evaluator(path), structure(lmp)
    wanted = evaluator.model.grades(evaluator.neighbors(system)[0])[: len(system)]
    assert wanted.max() > 0.1
    np.testing.assert_allclose(grades, wanted, rtol=1e-10)


@pytest.mark.parametrize("precision", ["double", "mixed"])
def test_posterior_of_many_elements(tmp_path, precision):
    """A posterior of twelve elements where two occur: the uncertainty is that of the whole one."""
    elements = ("H", "Si", "N", "O", "Al", "C", "P", "S", "Cu", "Zn", "Ag", "I")
    native = nep_text(
        elements=elements, n_max=(1, 1), basis_size=(2, 2), l_max="2 0 0", neurons=6
    ).encode()
    m, rng = 7 * len(elements), np.random.default_rng(4)
    factor = rng.normal(size=(m, m))
    metadata = {
        "format": "pyuq-posterior",
        "format_version": "1",
        "family": "nep",
        "units": "metal",
    }
    metadata |= {"elements": " ".join(elements), "model_sha256": hashlib.sha256(native).hexdigest()}
    tensors = {"model": np.frombuffer(native, np.uint8), "mean": rng.normal(size=m)}
    path = tmp_path / "wide.uq"
    path.write_bytes(save(tensors | {"covariance": factor @ factor.T}, metadata=metadata))
    script = "compute s all uq/atom energy\ncompute u all uq\nthermo_style custom pe c_u[*]\n"
    lmp = run(atoms(path, pair=f"uq precision {precision}") + script + "run 0 post no")
    evaluator, system = Evaluator(path), structure(lmp)
    features = evaluator.features(system)
    sigma = np.empty(len(system))
    for n, symbol in enumerate(system.get_chemical_symbols()):
        z = evaluator.elements.index(symbol)
        sigma[n] = np.sqrt(evaluator.model.variances(z, features[n : n + 1])[0][0])
    tolerance = 1e-10 if precision == "double" else 1e-4
    np.testing.assert_allclose(np.array(lmp.gather("c_s", 1, 1)), sigma, rtol=tolerance)
    assert lmp.extract_compute("u", 0, 1)[0] == pytest.approx(
        Committee([evaluator]).uncertainty(system).sigma, rel=1e-9
    )
