# SPDX-License-Identifier: GPL-2.0-or-later
"""The Python reader of network files: what a header may ask for is bounded, faults are named."""

from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pyuq import _core
from pyuq.bnn.architecture import read_network

NETWORK = Path(__file__).parents[1] / "data" / "network" / "agi.safetensors"


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("layers", "1000000000", "layers = 1000000000; expected at most 64"),
        ("channels", "1000000", "channels = 1000000; expected at most 4096"),
        ("envelope", "1000", "envelope = 1000; expected at most 64"),
        ("cutoff", "nan", "cutoff = nan; expected"),
        ("cutoff", "far", "cutoff = 'far'; expected a distance in Å"),
        ("hidden", "8.5", "hidden = '8.5'; expected a whole number"),
        ("bessels", None, "the metadata entry bessels is missing"),
        ("elements", "Ag Ag", "expected different chemical symbols"),
    ],
)
def test_faults_of_metadata_are_named(tmp_path, key, value, message):
    with safe_open(NETWORK, framework="numpy") as file:
        metadata = file.metadata()
    del metadata[key]
    path = tmp_path / "network.safetensors"
    save_file(load_file(NETWORK), path, metadata | ({key: value} if value else {}))
    with pytest.raises(ValueError, match=rf"^{path}: .*{message}"):
        read_network(path)
    with pytest.raises(RuntimeError, match=rf"^{path}: "):  # as the native reader does
        _core.Model(path)
