# SPDX-License-Identifier: GPL-2.0-or-later
"""Statistics over samples, and the plain words of the report."""

from types import SimpleNamespace

import numpy as np
import pytest

from pyuq.srom.report import Findings, activation_energies, diffuses, verdicts
from pyuq.srom.settings import BasisTable, DiffusionTable
from pyuq.srom.statistics import spread


def test_variances_are_told_apart():
    rng = np.random.default_rng(1)
    between, within = 0.3, 0.4
    found = np.array(
        [
            spread(
                rng.normal(2.0, between, 20) + rng.normal(0, within, 20), np.full(20, within)
            ).between
            for _ in range(400)
        ]
    )
    assert found.mean() == pytest.approx(between**2, abs=4 * found.std() / 20)
    assert (found < 0).any()  # nothing is cut off, or the mean would be biased


def test_larger_of_claimed_and_repeated_error_counts():
    values, errors = [1.0, 1.2, 1.4], [0.01, 0.01, 0.01]
    assert spread(values, errors).within == pytest.approx(1e-4)
    # Two groups with their own means: (2·0.1² + 2·0.05²) over 2 degrees of freedom.
    s = spread(values, errors, [[1.0, 1.2], [3.0, 3.1], [7.0]])
    assert s.within == s.repeated == pytest.approx(0.0125)
    assert s.between == pytest.approx(0.04 - 0.0125)


def test_interval_and_errors_of_its_ends():
    x = np.random.default_rng(2).normal(size=4000)
    s = spread(x, np.zeros(4000))
    np.testing.assert_allclose(s.interval, [-1.96, 1.96], atol=4 * max(s.interval_errors))
    # Standard error of a normal quantile: √(p(1-p)/K)/density.
    np.testing.assert_allclose(s.interval_errors, np.sqrt(0.025 * 0.975 / 4000) / 0.0584, rtol=0.25)


@pytest.mark.parametrize("errors", [[0.1], [0.1, 0.1, 0.1]])
def test_numbers_that_do_not_fit_are_refused(errors):
    with pytest.raises(ValueError, match="expected two or more of each"):
        spread([1.0, 2.0] if len(errors) > 1 else [1.0], errors)


def run(value, error=0.01, slope=0.95, ok=True):
    return {
        "ok": ok,
        "error": "" if ok else "Lost atoms",
        "driver": "a",
        "modes": 4,
        "diffusion": diffusion(value, error, slope),
    }


def diffusion(value, error=0.01, slope=0.95):
    msd = [6 * value * 10.0 / slope / 3] * 3
    return {
        "diffusivity": value,
        "error": error,
        "times": [1.0, 10.0],
        "msd": [msd, msd],
        "resolved": True,
    }


def findings(samples, nominal, free=(), full=0.3, full_slope=0.95):
    kinds = {"sample": samples, "nominal": nominal}
    settings = SimpleNamespace(
        basis=BasisTable(modes=4, free=free), diffusion=DiffusionTable(species="Ag")
    )
    return SimpleNamespace(
        case=SimpleNamespace(settings=settings),
        summary={
            "modes": 4,
            "angles": {},
            "noise_floor": 1.0,
            "model_distance": 5.0,
            "labels": ["a", "b", "c"],
        },
        full={
            "a": SimpleNamespace(
                value=full, error=0.01, to_dict=lambda: diffusion(full, slope=full_slope)
            )
        },
        reduced={"a": [r["diffusion"] for r in nominal if r["ok"]]},
        spread=SimpleNamespace(count=len(samples)) if all(map(diffuses, samples)) else None,
        of_kind=lambda kind: kinds[kind],
    )


def test_few_samples_have_no_tails():
    text = " ".join(verdicts(findings([run(0.3)] * 3, [run(0.31)])))
    assert "3 samples: even their whole range holds only 50% of the distribution" in text


def test_sound_study_has_one_caveat():
    lines = verdicts(findings([run(0.3)] * 40, [run(0.31)]))
    assert lines == [
        "samples interpolate between the models: an error that all models share is invisible here"
    ]


def test_reduction_that_changes_the_diffusivity_is_said_so():
    text = " ".join(verdicts(findings([run(0.1)] * 3, [run(0.1)])))
    assert "the reduction itself changes D" in text
    assert '`free = ["Ag"]`' in text
    text = " ".join(verdicts(findings([run(0.1)] * 3, [run(0.1)], free=("Ag",))))
    assert "take more modes until D(n) meets" in text
    assert "free =" not in text


def test_caged_and_failed_samples_are_counted():
    text = " ".join(
        verdicts(findings([run(0.3), run(0.1, slope=0.5), run(0, ok=False)], [run(0.3)]))
    )
    assert "1 of 3 samples failed: Lost atoms" in text
    assert "1 of 3 samples do not diffuse" in text
    assert "no interval is given" in text
    assert "cannot carry the hops of single ions" in text


def test_frozen_runs_are_counted_and_no_measure_of_a_samples_error():
    nominal = [run(0.29), run(0.31), run(0.01, slope=0.2)]
    text = " ".join(verdicts(findings([run(0.3)] * 40, nominal)))
    assert "1 of 3 runs of a in its own modes do not diffuse" in text
    runs = [r | {"kind": "nominal"} for r in nominal]
    runs += [run(value) | {"kind": "sample"} for value in (0.28, 0.3, 0.32)]
    found = Findings(None, None, {}, {"a": None}, runs)
    assert found.spread.repeated == pytest.approx(0.02**2 / 2)


def test_crystal_that_does_not_diffuse_needs_no_advice():
    caged = [run(1e-4, slope=0.1)] * 3
    text = " ".join(verdicts(findings(caged, [run(1e-5)], full=1e-3, full_slope=0.1)))
    assert "a does not diffuse in full dynamics either" in text
    assert "3 of 3 samples do not diffuse" in text
    assert "free =" not in text
    assert "the reduction itself" not in text


@pytest.mark.parametrize(("slope", "line"), [(0.5, False), (0.8, True), (1.2, True), (3.0, False)])
def test_fit_must_explain_the_displacement(slope, line):
    """A slope above one: an oscillating MSD whose fitted line has nothing to do with its height."""
    assert diffuses(run(0.3, slope=slope)) is line


def test_activation_energies_of_models_and_samples():
    temperatures = np.array([500.0, 600.0, 800.0])
    law = 40.0 * np.exp(-0.25 / (8.617333262e-5 * temperatures))
    found = [
        SimpleNamespace(
            case=SimpleNamespace(temperature=t),
            full={
                "a": SimpleNamespace(
                    value=d, error=1e-4 * d, to_dict=lambda d=d: diffusion(d, 1e-4 * d)
                ),
                "caged": SimpleNamespace(
                    value=d, error=d, to_dict=lambda d=d: diffusion(d, slope=0.1)
                ),
            },
            spread=SimpleNamespace(median=2 * d, total=(0.1 * d) ** 2),
        )
        for t, d in zip(temperatures, law, strict=True)
    ]
    fits = activation_energies(found)
    assert list(fits) == ["a, full", "samples"]
    assert fits["a, full"].activation_energy == pytest.approx(0.25, rel=1e-4)
    assert fits["samples"].activation_energy == pytest.approx(0.25, rel=1e-2)
    assert fits["samples"].activation_energy_error > 0.001
    assert activation_energies(found[:1]) == {}
