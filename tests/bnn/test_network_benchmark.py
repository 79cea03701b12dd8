# SPDX-License-Identifier: GPL-2.0-or-later
"""The comparison of benchmarks/network_uq.py is one at equal gradient evaluations."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="torch is not installed: pip install 'pyuq[bnn]'")

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "network_uq.py"


@pytest.fixture(scope="module")
def benchmark():
    specification = importlib.util.spec_from_file_location("network_uq", BENCHMARK)
    module = importlib.util.module_from_spec(specification)
    sys.modules["network_uq"] = module
    specification.loader.exec_module(module)
    yield module
    del sys.modules["network_uq"]


@pytest.mark.parametrize("short", [True, False])
def test_every_method_spends_the_same(benchmark, short):
    plan = benchmark.SHORT if short else benchmark.Plan()
    found = benchmark.samplers(plan)
    assert len(found) == 6
    for name, sampler in found.items():
        copies = getattr(sampler, "chains", getattr(sampler, "members", 1))
        assert sampler.steps * copies == pytest.approx(plan.gradients, rel=0.01), name
        assert sampler.batch == plan.batch


def test_absent_data_are_skipped_with_a_reason(benchmark, tmp_path):
    found = benchmark.run("silicon", benchmark.SHORT, tmp_path / "nowhere", tmp_path)
    assert found.startswith("skipped: no ")
    assert "Si_training.json" in found
