# SPDX-License-Identifier: GPL-2.0-or-later
"""Models of nequip, imported, give nequip's energies, forces and virials; nequip is the oracle."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

torch = pytest.importorskip("torch", reason="torch is not installed: pip install 'pyuq[bnn]'")

from pyuq.bnn.architecture import read_network, write_network  # noqa: E402
from pyuq.bnn.nequip import convert, import_nequip  # noqa: E402
from pyuq.bnn.network import Batch, predict, sample_weights  # noqa: E402

SHAPES = {
    "small": {"num_layers": 2, "l_max": 1, "num_features": 8, "radial_mlp_width": 12},
    "deep": {"num_layers": 3, "l_max": 2, "num_features": 6, "radial_mlp_width": 9},
    "uneven": {
        "num_layers": 3,
        "l_max": 2,
        "num_features": [7, 3, 2],
        "type_embed_num_features": 4,
        "polynomial_cutoff_p": 5,
        "num_bessels": 5,
    },
    "one layer": {"num_layers": 1, "l_max": 1, "num_features": 4},
    "scalars": {"num_layers": 2, "l_max": 0, "num_features": 5},
    "trained Bessel functions": {
        "num_layers": 4,
        "l_max": 1,
        "num_features": 3,
        "bessel_trainable": True,
    },
}
DEFAULTS = {
    "seed": 3,
    "model_dtype": "float64",
    "r_max": 4.5,
    "type_names": ["Ag", "I"],
    "parity": False,
    "avg_num_neighbors": 11.0,
    "per_type_energy_scales": {"Ag": 1.3, "I": 0.7},
    "per_type_energy_shifts": {"Ag": -1.0, "I": 2.0},
}

ZBL = {
    "_target_": "nequip.nn.pair_potential.ZBL",
    "units": "metal",
    "chemical_species": ["Ag", "I"],
}


@pytest.fixture(scope="module")
def build():
    """Function (keywords) → model of nequip."""
    nequip = pytest.importorskip("nequip.model", reason="the oracle nequip is not installed")
    from nequip.utils.global_state import set_global_state

    set_global_state()
    return lambda **keywords: nequip.NequIPGNNModel(**(DEFAULTS | keywords))


def crystals():
    rng = np.random.default_rng(2)
    salt = bulk("AgI", "rocksalt", a=5.9, cubic=True)
    salt.positions += rng.normal(scale=0.2, size=salt.positions.shape)
    salt.set_cell(salt.cell.array + rng.normal(scale=0.2, size=(3, 3)), scale_atoms=True)
    tiny = Atoms("AgI", [[0, 0, 0], [1.6, 1.4, 1.7]], cell=[3.3, 3.1, 3.6], pbc=True)
    molecule = Atoms("IAgI", rng.normal(scale=1.7, size=(3, 3)))
    return [salt, tiny, molecule]


def oracle(model, atoms):
    """Energy, forces and virial of nequip."""
    from nequip.data import AtomicDataDict, compute_neighborlist_, from_ase

    data = from_ase(atoms)
    names = DEFAULTS["type_names"]
    types = [names.index(s) for s in atoms.get_chemical_symbols()]
    data[AtomicDataDict.ATOM_TYPE_KEY] = torch.tensor(types)
    data = compute_neighborlist_(data, r_max=DEFAULTS["r_max"])
    out = model(data)
    virial = out.get(AtomicDataDict.VIRIAL_KEY)
    return (
        out[AtomicDataDict.TOTAL_ENERGY_KEY].item(),
        out[AtomicDataDict.FORCE_KEY].detach().numpy(),
        None if virial is None else virial.detach().numpy().reshape(3, 3),
    )


@pytest.mark.validate
@pytest.mark.parametrize("shape", SHAPES)
def test_imported_network_has_nequips_numbers(build, tmp_path, shape):
    model = build(**SHAPES[shape])
    expected = [oracle(model, atoms) for atoms in crystals()]
    write_network(tmp_path / "imported", *convert(model), {})
    file = read_network(tmp_path / "imported")
    from pyuq.evaluate.evaluator import Evaluator

    native = Evaluator(tmp_path / "imported")
    for atoms, (energy, forces, virial) in zip(crystals(), expected):
        twin = predict(
            file.architecture, sample_weights(file, 0), Batch.of([atoms], file.architecture)
        )
        kernel = native.compute(atoms)
        scale = np.abs(forces).max()
        assert scale > 1e-4
        for found in (twin.energies.item(), kernel["energy"]):
            assert found == pytest.approx(energy, abs=1e-10)
        for found in (twin.forces.numpy(), kernel["forces"]):
            np.testing.assert_allclose(found, forces, atol=1e-10 * scale)
        if virial is not None and all(atoms.pbc):
            np.testing.assert_allclose(
                twin.virials[0].numpy(), virial, atol=1e-9 * np.abs(virial).max()
            )


@pytest.mark.validate
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"l_max": 3}, "l_max = 3"),
        ({"parity": True}, "parity 0o"),
        ({"radial_mlp_depth": 2}, "radial_mlp_depth = 2"),
        ({"readout_mlp_hidden_layers_depth": 1}, "readout_mlp_hidden_layers_depth"),
        ({"avg_num_neighbors": {"Ag": 10.0, "I": 12.0}}, "avg_num_neighbors per type"),
        ({"per_edge_type_cutoff": {"Ag": 3.0}}, "per_edge_type_cutoff"),
        ({"convnet_nonlinearity_scalars": {"e": "ssp", "o": "tanh"}}, "not SiLU"),
        ({"convnet_nonlinearity_gates": {"e": "tanh", "o": "tanh"}}, "not SiLU"),
        ({"polynomial_cutoff_p": 5.5}, "polynomial_cutoff_p = 5.5"),
        ({"pair_potential": ZBL}, "pair_potential .*hybrid/overlay"),
        ({"convnet_resnet": True, "num_layers": 3}, "convnet_resnet"),
        ({"type_names": ["A1", "I"]}, "A1 is no chemical symbol"),
    ],
)
def test_nequip_networks_with_other_parts_are_refused_by_name(build, change, message):
    names = change.get("type_names", DEFAULTS["type_names"])
    energies = dict.fromkeys(names, 1.0)
    scales = {"per_type_energy_scales": energies, "per_type_energy_shifts": energies}
    with pytest.raises(ValueError, match=message):
        convert(build(**{"num_layers": 2, "num_features": 4} | scales | change))


@pytest.mark.parametrize(
    ("name", "message"), [("model.nequip.pt2", "compiled"), ("model.ckpt", "no file")]
)
def test_other_files_are_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=message):
        import_nequip(tmp_path / name, tmp_path / "out")
