# SPDX-License-Identifier: GPL-2.0-or-later
"""Moment tensor potentials straight from the definition, slow and plain; small random ones as text.

Their scalar moments are not invariant under rotation: the evaluator must not care.
"""

import json
import re

import numpy as np
from numpy.polynomial.chebyshev import chebval

WEIGHTS = "energy_weight 0\nforce_weight 0\nstress_weight 0\nsite_en_weight 1\nweight_scaling 2\n#"


def braces(values) -> str:
    """Nested lists in braces."""
    if np.ndim(values) == 0:
        return repr(np.asarray(values).item())
    return "{" + ", ".join(braces(v) for v in values) + "}"


def all_moments(degrees):
    """(μ, a, b, c) of all monomials of radial function μ up to degrees[μ]."""
    return [
        (mu, d - b - c, b, c)
        for mu, degree in enumerate(degrees)
        for d in range(degree + 1)
        for b in range(d + 1)
        for c in range(d + 1 - b)
    ]


def mtp_text(
    species=2,
    basic=None,
    degrees=(4, 2, 0),
    nproducts=40,
    nbasis=5,
    seed=0,
    kind="RBChebyshev",
    rmin=1.5,
    rmax=4.5,
    keys=("min_dist", "max_dist", "radial_basis_size"),
    inner_scaling="",
):
    """Text of a random potential."""
    rng = np.random.default_rng(seed)
    basic = all_moments(degrees) if basic is None else basic
    nradial = len(degrees)
    radial = rng.normal(size=(species, species, nradial, nbasis)) / (1 + np.arange(nbasis)) ** 2
    # Each target gets one to four products of moments that are complete, two targets at a time.
    count, products = len(basic), []
    while len(products) < nproducts:
        pair = []
        for target in (count, count + 1):
            pair += [
                (
                    *rng.integers(0, count, 2),
                    rng.choice([1, 1, 2, -3]),
                    target if k else (count, count + 1)[target - count],
                )
                for k in range(rng.integers(1, 5))
            ]
        products += [pair[k] for k in rng.permutation(len(pair))]
        count += 2
    scalars = np.sort(rng.choice(count, min(count, 20), replace=False))
    table = "\n".join(
        f"\t\t{i}-{j}\n" + "\n".join(f"\t\t\t{braces(row)}" for row in radial[i, j])
        for i in range(species)
        for j in range(species)
    )
    return f"""MTP
version = 1.1.0
potential_name = random
scaling = 0.3
species_count = {species}
potential_tag =
radial_basis_type = {kind}
{inner_scaling}\t{keys[0]} = {rmin}
\t{keys[1]} = {rmax}
\t{keys[2]} = {nbasis}
\tradial_funcs_count = {nradial}
\tradial_coeffs
{table}
alpha_moments_count = {count}
alpha_index_basic_count = {len(basic)}
alpha_index_basic = {braces(basic)}
alpha_index_times_count = {len(products)}
alpha_index_times = {braces(products)}
alpha_scalar_moments = {len(scalars)}
alpha_moment_mapping = {braces(scalars)}
species_coeffs = {braces(rng.normal(size=species))}
moment_coeffs = {braces(0.02 * rng.normal(size=len(scalars)))}
"""


def parse(text):
    """Content of a text written by `mtp_text`."""

    def value(key):
        found = re.findall(rf"^\s*{key} = (.*)$", text, re.M)
        return [json.loads(f.replace("{", "[").replace("}", "]")) for f in found]

    rows = re.findall(r"^\t\t\t(\{.*\})$", text, re.M)
    species, nradial = value("species_count")[0], value("radial_funcs_count")[0]
    potential = {
        key: np.array(value(f"alpha_{name}")[0])
        for key, name in (
            ("basic", "index_basic"),
            ("products", "index_times"),
            ("scalars", "moment_mapping"),
        )
    }
    return potential | {
        "repulsive": "RBChebyshev_repuls" in text,
        "scaling": np.prod(value("scaling")),
        "rmin": value("(?:min_dist|min_val|min)")[0],
        "rmax": value("(?:max_dist|max_val|max)")[0],
        "radial": np.array(
            [json.loads(r.replace("{", "[").replace("}", "]")) for r in rows]
        ).reshape(species, species, nradial, -1),
        "nmoments": value("alpha_moments_count")[0],
        "species": np.array(value("species_coeffs")[0]),
        "moments": np.array(value("moment_coeffs")[0]),
    }


def moments(potential, z, neighbors):
    """All moments of an atom of species z; neighbors: list of (species, vector)."""
    values = np.zeros(potential["nmoments"], dtype=potential["radial"].dtype)
    rmin, rmax = potential["rmin"], potential["rmax"]
    for other, vector in neighbors:
        r = np.linalg.norm(vector)
        if r >= rmax:
            continue
        x, y, zz = vector / r
        inside = max(r, rmin) if potential["repulsive"] else r
        xi = (2 * inside - rmin - rmax) / (rmax - rmin)
        f = (
            potential["scaling"]
            * (inside - rmax) ** 2
            * chebval(xi, potential["radial"][z, other].T)
        )
        for m, (mu, a, b, c) in enumerate(potential["basic"]):
            values[m] += f[mu] * x**a * y**b * zz**c
    for p, q, weight, target in potential["products"]:
        values[target] += weight * values[p] * values[q]
    return values


def repulsion(potential, neighbors):
    """Short-range repulsion, eV."""
    rmin = potential["rmin"]
    distances = np.array([np.linalg.norm(v) for _, v in neighbors])
    close = distances[distances < rmin] if potential["repulsive"] else np.zeros(0)
    return 1e4 * (np.exp(-10 * (close - 1)) - np.exp(-10 * (rmin - 1))).sum()


def atomic_energy(potential, z, neighbors):
    """Energy of an atom, eV."""
    scalars = moments(potential, z, neighbors)[potential["scalars"]]
    return (
        potential["species"][z] + potential["moments"] @ scalars + repulsion(potential, neighbors)
    )


def coefficient_gradient(potential, z, neighbors):
    """∂E/∂(radial, species, moment coefficients) by complex steps."""
    step, columns = 1e-30, []
    for key in ("radial", "species", "moments"):
        shape = potential[key].shape
        for k in range(potential[key].size):
            moved = potential[key].astype(complex).reshape(-1)
            moved[k] += 1j * step
            changed = potential | {"radial": potential["radial"].astype(complex)}
            changed[key] = moved.reshape(shape)
            columns.append(atomic_energy(changed, z, neighbors).imag / step)
    return np.array(columns)


CASES = {
    "plain": {},
    "one_species": {"species": 1, "degrees": (5, 3, 1, 0), "inner_scaling": "\tscaling = 2.0\n"},
    "many_radial": {"degrees": (1, 0, 2, 1, 3, 0, 1), "nbasis": 3, "keys": ("min", "max", "size")},
    "three_species": {"species": 3, "keys": ("min_val", "max_val", "size")},
    # High powers of z alone, degrees in no order, a radial function without moments.
    "sparse": {
        "basic": [(1, 0, 0, 6), (3, 1, 2, 4), (0, 0, 0, 0), (3, 0, 0, 1), (1, 0, 5, 3)],
        "degrees": (0, 0, 0, 0),
    },
    "radial_only": {"degrees": (0,), "nbasis": 1},
    "repulsive": {"kind": "RBChebyshev_repuls", "rmin": 2.3},
}
