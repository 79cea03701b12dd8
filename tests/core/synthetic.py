# SPDX-License-Identifier: GPL-2.0-or-later
"""Small random ACE potentials as .yace text.

Their functions are not invariant under rotation: the evaluator must not care.
"""

import numpy as np

RADIALS = ("ChebExpCos", "ChebPow", "ChebLinear", "SBessel")


def random_function(rng, mu0, n_elements, rank, ndensity, n_base, n_rad, l_max):
    """One entry of the list `functions`."""
    if rank == 1:
        ls, ns, ms = [0], [rng.integers(1, n_base + 1)], [[0]]
    else:
        ls = rng.integers(0, l_max + 1, rank)
        ns = rng.integers(1, n_rad + 1, rank)
        ms = np.unique([[rng.integers(-l, l + 1) for l in ls] for _ in range(4)], axis=0)
    return (
        f"{{mu0: {mu0}, rank: {rank}, ndensity: {ndensity}, num_ms_combs: {len(ms)}, "
        f"mus: {flow(rng.integers(0, n_elements, rank))}, ns: {flow(ns)}, ls: {flow(ls)}, "
        f"ms_combs: {flow(np.ravel(ms))}, ctildes: {flow(rng.normal(size=len(ms) * ndensity))}}}"
    )


def flow(values):
    """A YAML list of plain numbers."""
    return "[" + ", ".join(repr(np.asarray(v).item()) for v in values) + "]"


def yace(
    seed=0,
    elements=("Al", "Si"),
    radial="ChebExpCos",
    fs=(1.0, 1.0),
    npoti="FinnisSinclairShiftedScaled",
    inner="density",
    identity=False,
    core=(0.0, 1.0),
    rho_core=(1e5, 250.0),
    functions_per_rank=(3, 6, 8, 4, 2),
    rcut=4.5,
    rcut_in=0.0,
    dcut_in=0.0,
    dcut=0.01,
    radparameter=2.5,
    functions_seed=None,
):
    """Text of a potential; `functions_per_rank[r]` functions of rank r + 1 for each element, of a seed of their own."""
    rng = np.random.default_rng(seed)
    ne, n_rad, l_max, n_base, ndensity = len(elements), 3, 3, 5, len(fs) // 2
    lines = [
        f"elements: [{', '.join(elements)}]",
        f"E0: {flow(rng.normal(size=ne))}",
        "deltaSplineBins: 0.001",
    ]
    lines.append("embeddings:")
    lines += [
        f"  {i}: {{ndensity: {ndensity}, FS_parameters: {flow(fs)}, npoti: {npoti}, "
        f"rho_core_cutoff: {rho_core[0]}, drho_core_cutoff: {rho_core[1]}}}"
        for i in range(ne)
    ]
    lines.append("bonds:")
    for i in range(ne):
        for j in range(ne):
            crad = rng.normal(size=(n_rad, l_max + 1, n_base))
            if identity:
                crad[:] = np.eye(n_rad, n_base)[:, None, :]
            rows = ", ".join("[" + ", ".join(flow(row) for row in block) + "]" for block in crad)
            lines.append(
                f"  [{i}, {j}]: {{nradmax: {n_rad}, lmax: {l_max}, nradbasemax: {n_base}, radbasename: {radial}, "
                f"radparameters: [{radparameter}], radcoefficients: [{rows}], "
                f"prehc: {core[0]}, lambdahc: {core[1]}, "
                f"rcut: {rcut - 0.2 * (i != j)}, dcut: {dcut}, rcut_in: {rcut_in}, dcut_in: {dcut_in}, "
                f"inner_cutoff_type: {inner}}}"
            )
    if functions_seed is not None:
        rng = np.random.default_rng(functions_seed)
    lines.append("functions:")
    for i in range(ne):
        lines.append(f"  {i}:")
        for rank, count in enumerate(functions_per_rank, start=1):
            lines += [
                "    - " + random_function(rng, i, ne, rank, ndensity, n_base, n_rad, l_max)
                for _ in range(count)
            ]
    return "\n".join(lines) + "\n"


# One for each way through the code.
CASES = {
    "linear": {},
    "identity": {"identity": True},
    "one_element": {"elements": ("Cu",), "radial": "SBessel"},
    "sqrt": {"fs": (1.0, 1.0, 0.7, 0.5), "radial": "ChebPow", "radparameter": 2.0},
    "finnis_sinclair": {"fs": (0.8, 0.7), "npoti": "FinnisSinclair", "radial": "ChebLinear"},
    "three_densities": {
        "fs": (1.0, 0.8, 0.5, 1.0, 0.3, 0.6),
        "radial": "ChebPow",
        "radparameter": 3.5,
    },
    # 1 - rcut (1 / rcut) rounds below zero: no base for a power.
    "pow_at_cutoff": {"radial": "ChebPow", "radparameter": 5.3, "rcut": 3.04},
    "density_core": {"core": (40.0, 0.5), "rho_core": (12.0, 10.0), "fs": (1.0, 1.0, 0.7, 0.5)},
    "distance_core": {
        "inner": "distance",
        "core": (15.0, 0.4),
        "rcut_in": 3.0,
        "dcut_in": 0.8,
        "rho_core": (5.0, 4.0),
    },
    "zbl": {
        "inner": "zbl",
        "core": (1.0, 1.0),
        "rcut_in": 2.6,
        "dcut_in": 0.8,
        "radial": "SBessel",
    },
}
