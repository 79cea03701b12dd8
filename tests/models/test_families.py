# SPDX-License-Identifier: GPL-2.0-or-later
"""A family is what the protocol asks for and a line in the registry; a fit asks for nothing else."""

import dataclasses
import inspect

import numpy as np
import pytest
from test_fit import labelled_argon

from pyuq.inference.fit import fit
from pyuq.inference.fit_settings import FitSettings
from pyuq.inference.fit_state import FitState
from pyuq.io import extxyz
from pyuq.potentials import families, protocol
from pyuq.potentials.basis import ACEBasis
from pyuq.potentials.mtp import MTPBasis
from pyuq.potentials.repulsion import shortest_distances
from pyuq.verbs.run_fit import run_fit

TOML = """
train = ["train.xyz"]
family = "pairs"
name = "ar"
[basis]
elements = ["Ar"]
size = 6
[one_body]
Ar = 0.01
"""


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Functions of distances alone, up to a cutoff that the data define: what the protocol asks for and no more."""

    elements: tuple[str, ...]
    size: int
    cutoff: float = dataclasses.field(default=0.0, metadata={"setting": False})

    family, suffix, has_repulsion, search = "pairs", ".yace", False, 0

    def __post_init__(self):
        shape = ACEBasis(self.elements, self.cutoff or 5.0, order=1, degree=self.size)
        object.__setattr__(self, "nfunctions", shape.nfunctions)
        object.__setattr__(self, "prior_mean", shape.prior_mean)
        object.__setattr__(self, "prior_shape", shape.prior_shape)
        object.__setattr__(self, "text", lambda w, e, r: shape.text(w, e, r))

    @property
    def largest_cutoff(self):
        return self.cutoff or 5.0

    def table(self):
        return {"elements": self.elements, "size": self.size}

    def prepare(self, structures):
        shortest = min(shortest_distances(structures, self.elements, 5.0).values())
        return dataclasses.replace(self, cutoff=2.0 * shortest)

    def state(self):
        return {"cutoff": self.cutoff, "array": np.arange(2.0)}

    def with_state(self, state):
        np.testing.assert_array_equal(state["array"], np.arange(2.0))
        return dataclasses.replace(self, cutoff=state["cutoff"])


def names(cls) -> set[str]:
    """What a protocol asks for."""
    return {
        name
        for base in cls.__mro__[:-1]
        for name in [*vars(base), *inspect.get_annotations(base)]
        if not name.startswith("_")
    }


@pytest.mark.parametrize(
    "basis", [ACEBasis(("Ar",), 5.0), MTPBasis(("Ar",), 5.0, level=2), Pairs(("Ar",), 6)]
)
def test_families_have_what_the_protocol_asks_for(basis):
    asked = names(protocol.SearchedBasis if basis.search else protocol.Basis)
    assert {"text", "prepare", "has_repulsion", "search"} <= asked
    assert all(hasattr(type(basis), name) or hasattr(basis, name) for name in asked)


def test_a_family_of_its_own_is_fitted_saved_and_resumed(tmp_path, monkeypatch):
    monkeypatch.setitem(families.FAMILIES, "pairs", Pairs)
    (tmp_path / "fit.toml").write_text(TOML)
    extxyz.write(tmp_path / "train.xyz", labelled_argon(6, 1))
    first = run_fit(tmp_path / "fit.toml")
    assert first.repulsion is None and first.basis.cutoff < 8.0
    assert (tmp_path / "fit/ar.yace").is_file() and (tmp_path / "fit/ar.uq").is_file()
    # A closer pair would make another cutoff: a fit that is resumed keeps the first one.
    extxyz.write(tmp_path / "train.xyz", labelled_argon(6, 1) + labelled_argon(2, 3, rattle=0.3))
    resumed = run_fit(tmp_path / "fit.toml", resume=True)
    assert resumed.basis.cutoff == first.basis.cutoff
    whole = fit(resumed.structures, FitSettings(Pairs(("Ar",), 6), one_body={"Ar": 0.01}))
    assert whole.basis.cutoff < first.basis.cutoff
    assert FitState.load(tmp_path / "fit/ar.fit").found["cutoff"] == first.basis.cutoff


def test_settings_of_a_family_are_the_parameters_of_its_class():
    table = {"elements": ["Ar", "Kr"], "cutoff": {"Ar-Kr": 6.0, "Ar-Ar": 5.0, "Kr-Kr": 5.0}}
    basis = families.basis_from_table(table, "fit.toml [basis]")
    assert basis == ACEBasis(
        ("Ar", "Kr"), {("Ar", "Kr"): 6.0, ("Ar", "Ar"): 5.0, ("Kr", "Kr"): 5.0}
    )
    assert families.basis_from_table(basis.table() | {"elements": ["Ar", "Kr"]}, "again") == basis
    with pytest.raises(ValueError, match=r"fit\.toml \[basis\]: unknown key 'radial'"):
        families.basis_from_table(
            {"elements": ["Ar"], "cutoff": 5.0, "radial": [1.0]}, "fit.toml [basis]", "mtp"
        )
    with pytest.raises(ValueError, match=r"cutoff\.Ar-Ar = 0\.5 Å"):
        families.basis_from_table({"elements": ["Ar"], "cutoff": {"Ar-Ar": 0.5}}, "x")
    with pytest.raises(
        ValueError, match=r"cutoff = \{'Ar-Ar': 'far'\}; expected a number or a table"
    ):
        families.basis_from_table({"elements": ["Ar"], "cutoff": {"Ar-Ar": "far"}}, "x")
