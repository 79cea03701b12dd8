# SPDX-License-Identifier: GPL-2.0-or-later
# distutils: language = c++
"""Bindings of the C++ core: arrays in, arrays out, shapes checked; no logic."""

import numpy as np

from cython.operator cimport dereference as deref
from libc.stdint cimport int32_t, uint64_t
from libc.string cimport memcpy
from libcpp cimport bool as cbool
from libcpp.memory cimport make_shared, make_unique, shared_ptr, unique_ptr
from libcpp.string cimport string
from libcpp.utility cimport move
from libcpp.vector cimport vector


cdef extern from "core/simd/dispatch.h" namespace "uq":
    cdef enum class SimdLevel:
        pass

    SimdLevel c_simd_level "uq::simd_level"() except +
    const char *simd_name(SimdLevel level)


cdef extern from "core/parallel/exchange.h" namespace "uq":
    cdef cppclass Exchange:
        pass

    cdef cppclass IndexExchange(Exchange):
        IndexExchange(int ntotal, const int *owner)


cdef extern from "core/geometry/periodic_list.h" namespace "uq":
    cdef cppclass PeriodicList:
        PeriodicList(size_t natoms, const double *positions, const double *cell, size_t npairs,
                     const uint64_t *i, const uint64_t *j, const int32_t *shifts) except +
        const vector[double] &x()
        const vector[int] &owner()
        const vector[int] &first()
        const vector[int] &indices()


cdef extern from "core/geometry/neighbors.h" namespace "uq":
    cdef struct Neighbors:
        int ntotal
        const double *x
        const int *species
        int ncenters
        const int *centers
        const int *counts
        const int *const *neighbors
        int mask
        Exchange *exchange


cdef extern from "core/map/feature_map.h" namespace "uq":
    cdef struct Cotangent:
        const double *shared
        const double *per_atom
        double baseline

    cdef struct Result:
        double energy
        double *eatom
        double *forces
        double *virial
        double *vatom

    cdef cppclass State "uq::FeatureMap::State":
        double min_distance
        double baseline_energy

    cdef cppclass FeatureMap:
        const char *family()
        const vector[string] &elements()
        double cutoff()
        double cutoff(int si, int sj)
        int nreadout()
        int offset(int species)
        int count(int species)
        int max_features()
        const vector[double] &weights()
        unique_ptr[State] new_state()
        void forward(const Neighbors &nb, State &state, double *sum, double *per_atom) except + nogil
        void backward(const Neighbors &nb, State &state, int ncotangents, const Cotangent *cotangents,
                      Result *results) except + nogil
        void evaluate(const Neighbors &nb, State &state, const Cotangent &cotangent, Result &result) except + nogil
        void jacobian(const Neighbors &nb, State &state, int nowners, const int *owner,
                      double *rows) except + nogil
        cbool has_grades()
        void grades(const Neighbors &nb, State &state, double *grades) except + nogil
        cbool has_noise()
        void noise(const Neighbors &nb, State &state, double *variances) except + nogil
        void default_jacobian "uq::FeatureMap::jacobian"(
            const Neighbors &nb, State &state, int nowners, const int *owner, double *rows) except + nogil


cdef extern from "core/families/mtp/mtp.h" namespace "uq::mtp":
    cdef cppclass Mtp:
        const vector[double] &radial()
        void radial_gradient(const Neighbors &nb, const double *weights, double energy_weight,
                             const double *displacement, double *gradient) nogil

    const Mtp &as_mtp(const FeatureMap &map) except +


cdef extern from "core/posterior/readout.h" namespace "uq":
    cdef cppclass Readout:
        Readout()
        Readout(vector[double] mean)
        void set_covariance(vector[double] covariance)
        int size()
        int nsamples()
        cbool has_posterior()
        size_t memory()
        const vector[double] &mean()
        double variance(const double *phi, double *v) nogil
        void variances(int n, int stride, int offset, int count, const double *phi, double *v,
                       double *var) except + nogil


cdef extern from "core/model/model.h" namespace "uq":
    cdef enum class Radial:
        Automatic
        Direct
        Spline

    cdef struct LoadOptions:
        Radial radial
        vector[string] elements
        cbool named
        string gpumd
        vector[string] occurring

    cdef struct ModelName:
        string path
        vector[string] elements
        string gpumd

    cdef struct ModelFiles:
        string name
        string model
        string posterior_name
        string posterior

    cdef cppclass ActiveSet:
        cbool empty()
        void grades(int species, int n, int stride, const double *phi, double *grades) nogil

    cdef cppclass CModel "uq::Model":
        string name
        shared_ptr[const FeatureMap] map
        Readout readout
        ActiveSet active
        vector[string] warnings
        cbool has_grades()

    ModelName split_model_name(const string &argument) except +
    ModelFiles read_model_files(const string &path) except +
    CModel load_model(const ModelFiles &files, const LoadOptions &options) except +
    vector[CModel] load_members(const ModelFiles &files, const LoadOptions &options) except +
    CModel fuse_models "uq::fuse"(const vector[const CModel *] &models) except +


cdef extern from "core/math/elements.h" namespace "uq":
    cdef struct MassCheck:
        string message
        cbool wrong

    MassCheck c_check_masses "uq::check_masses"(
        const vector[string] &elements, const vector[double] &masses) except +


def check_masses(elements, masses):
    """What speaks against these masses (g/mol) of these elements (empty: nothing), and whether they are wrong."""
    cdef vector[double] m = [float(mass) for mass in masses]
    cdef vector[string] names = [element.encode() for element in elements]
    if names.size() != m.size():
        raise ValueError(f"{m.size()} masses of {names.size()} elements")
    cdef MassCheck check = c_check_masses(names, m)
    return check.message.decode(), check.wrong


def simd_level():
    """Instruction set of the kernels: baseline, avx2 or avx512 (``PYUQ_SIMD`` asks for less)."""
    return simd_name(c_simd_level()).decode()


cdef object as_doubles(values, shape, name):
    """Contiguous float64 array of a shape (-1: free)."""
    array = np.ascontiguousarray(values, dtype=np.float64)
    check_shape(array, shape, name)
    return array


cdef object as_ints(values, shape, name):
    """Contiguous int32 array of a shape (-1: free)."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, found {array.dtype}")
    array = np.ascontiguousarray(array, dtype=np.int32)
    check_shape(array, shape, name)
    return array


def check_shape(array, shape, name):
    if array.ndim != len(shape) or any(
        want >= 0 and have != want for have, want in zip(array.shape, shape)
    ):
        wanted = ", ".join("n" if want < 0 else str(want) for want in shape)
        raise ValueError(f"{name} has shape {array.shape}, expected ({wanted})")


cdef class NeighborView:
    """Positions, species and a full neighbour list in compressed rows, checked once.

    Parameters
    ----------
    x : array_like, shape (n, 3)
        Positions of owned and ghost atoms, Å.
    species : array_like of int, shape (n,)
        Species index of the model; -1 is skipped.
    centers : array_like of int, shape (c,)
        Atoms whose energies are evaluated.
    first : array_like of int, shape (c + 1,)
        Row k of the list is ``indices[first[k]:first[k + 1]]``.
    indices : array_like of int
        Neighbours of each centre.
    owner : array_like of int, shape (n,), optional
        The atom that each one is an image of (an owned atom: itself). Networks need it where there are ghosts.
    """

    cdef Neighbors view
    cdef readonly object x, species, centers, first, indices, owner
    cdef object counts
    cdef vector[const int *] rows
    cdef unique_ptr[IndexExchange] exchange

    def __init__(self, x, species, centers, first, indices, owner=None):
        self.x = as_doubles(x, (-1, 3), "x")
        cdef int n = len(self.x)
        self.species = as_ints(species, (n,), "species")
        self.centers = as_ints(centers, (-1,), "centers")
        cdef int ncenters = len(self.centers)
        self.first = as_ints(first, (ncenters + 1,), "first")
        self.indices = as_ints(indices, (-1,), "indices")
        for name, array in (("centers", self.centers), ("indices", self.indices)):
            if array.size and (array.min() < 0 or array.max() >= n):
                raise ValueError(f"{name} must lie in [0, {n}), found {array.min()}..{array.max()}")
        if self.first[0] != 0 or self.first[-1] != len(self.indices) or (np.diff(self.first) < 0).any():
            raise ValueError("first must rise from 0 to the length of indices")
        if ncenters and (self.species[self.centers] < 0).any():
            raise ValueError("a centre has species -1")
        self.counts = np.zeros(n, dtype=np.int32)
        self.counts[self.centers] = np.diff(self.first)

        cdef const double[:, ::1] x_view = self.x
        cdef const int[::1] species_view = self.species
        cdef const int[::1] centers_view = self.centers
        cdef const int[::1] counts_view = self.counts
        cdef const int[::1] indices_view = self.indices
        cdef int k
        self.rows.assign(n, <const int *>NULL)
        for k in range(ncenters):
            if counts_view[centers_view[k]]:
                self.rows[centers_view[k]] = &indices_view[self.first[k]]
        self.view.ntotal = n
        self.view.x = &x_view[0, 0] if n else NULL
        self.view.species = &species_view[0] if n else NULL
        self.view.ncenters = ncenters
        self.view.centers = &centers_view[0] if ncenters else NULL
        self.view.counts = &counts_view[0] if n else NULL
        self.view.neighbors = self.rows.data()
        self.view.mask = -1
        if owner is not None:
            self._set_owner(owner)

    cdef _set_owner(self, owner):
        self.owner = as_ints(owner, (self.view.ntotal,), "owner")
        cdef const int[::1] view = self.owner
        if self.owner.size == 0:
            return
        if self.owner.min() < 0 or self.owner.max() >= self.view.ntotal:
            raise ValueError(
                f"owner must lie in [0, {self.view.ntotal}), found {self.owner.min()}..{self.owner.max()}"
            )
        self.exchange.reset(new IndexExchange(self.view.ntotal, &view[0]))
        self.view.exchange = self.exchange.get()

    def __len__(self):
        return self.view.ntotal

    @property
    def ncenters(self):
        """Number of centres."""
        return self.view.ncenters


def periodic_view(positions, cell, species, i, j, shifts):
    """View of a periodic structure, all of whose atoms are centres, from pairs and the shifts of their images.

    Parameters
    ----------
    positions : array_like, shape (n, 3)
        Å.
    cell : array_like, shape (3, 3)
        Rows are the cell vectors, Å.
    species : array_like of int, shape (n,)
        Species index of the model.
    i, j : ndarray of uint64, shape (pairs,)
        Full list: the image of j is a neighbour of i.
    shifts : ndarray of int32, shape (pairs, 3)
        Cell vectors by which j is moved.

    Returns
    -------
    NeighborView
        The atoms, then one ghost for each image that is a neighbour.
    """
    cdef const double[:, ::1] x = as_doubles(positions, (-1, 3), "positions")
    cdef const double[:, ::1] rows = as_doubles(cell, (3, 3), "cell")
    cdef size_t natoms = x.shape[0], npairs = len(i)
    check_shape(j, (npairs,), "j")
    check_shape(shifts, (npairs, 3), "shifts")
    cdef const uint64_t[::1] i_view = i, j_view = j
    cdef const int32_t[:, ::1] shift_view = shifts
    cdef unique_ptr[PeriodicList] found
    found.reset(new PeriodicList(
        natoms, &x[0, 0] if natoms else NULL, &rows[0, 0], npairs,
        &i_view[0] if npairs else NULL, &j_view[0] if npairs else NULL,
        &shift_view[0, 0] if npairs else NULL,
    ))
    owner = as_array(deref(found).owner())
    species = as_ints(species, (natoms,), "species")
    x_all = np.empty((owner.size, 3))
    cdef double[:, ::1] x_out = x_all
    if owner.size:
        memcpy(&x_out[0, 0], deref(found).x().data(), 3 * owner.size * sizeof(double))
    return NeighborView(
        x_all, species[owner], np.arange(natoms, dtype=np.int32),
        as_array(deref(found).first()), as_array(deref(found).indices()), owner,
    )


cdef as_array(const vector[int] &values):
    """The same numbers as an int32 array of their own."""
    array = np.empty(values.size(), dtype=np.int32)
    cdef int[::1] view = array
    if values.size():
        memcpy(&view[0], values.data(), values.size() * sizeof(int))
    return array


cdef class Model:
    """A potential: feature map and readout, read from a file of any known format.

    Parameters
    ----------
    path : str
        Native model file or posterior (``NAME.uq``). A posterior beside a native file is used.
    radial_spline : bool, optional
        ACE only: evaluate the reference evaluator's radial splines, or the functions themselves. Default: splines
        where the functions do not vanish at their cutoff.
    elements : iterable of str
        Names of the species, in file order, for formats that store none (MTP).
    gpumd : str
        Version of GPUMD that wrote a nep.txt which does not tell it, such as ``"5.3"``.
    occurring : iterable of str
        The only elements that will be asked for: of a posterior, their blocks alone are kept. Default: all.
    posterior : bool
        Use the posterior that lies beside a native file.

    Raises
    ------
    RuntimeError
        Unreadable or inconsistent file; the message names file and line.
    """

    cdef shared_ptr[CModel] model
    cdef const FeatureMap *map
    cdef unique_ptr[State] state

    cdef _hold(self, CModel &model):
        self.model = make_shared[CModel](move(model))
        self.map = deref(self.model).map.get()
        if self.map != NULL:
            self.state = deref(self.map).new_state()

    def __init__(self, path, radial_spline=None, elements=(), posterior=True, gpumd="",
                 occurring=()):
        cdef LoadOptions options
        cdef ModelFiles files = read_model_files(str(path).encode())
        if radial_spline is not None:
            options.radial = Radial.Spline if radial_spline else Radial.Direct
        options.gpumd = str(gpumd).encode()
        for element in occurring:
            options.occurring.push_back(str(element).encode())
        for element in elements:
            options.elements.push_back(str(element).encode())
        if not posterior:
            files.posterior_name.clear()
        cdef CModel model = load_model(files, options)
        self._hold(model)

    @property
    def family(self):
        """Name of the family, e.g. ``"ace"``."""
        return deref(self.map).family().decode()

    @property
    def elements(self):
        """Chemical symbols in the species order of the model."""
        cdef vector[string] names = deref(self.map).elements()
        return [name.decode() for name in names]

    @property
    def warnings(self):
        """What a user should know of how the file was read, texts with its name."""
        cdef string warning
        return [warning.decode() for warning in deref(self.model).warnings]

    @property
    def cutoff(self):
        """Largest cutoff, Å."""
        return deref(self.map).cutoff()

    @property
    def nreadout(self):
        """Number of readout weights M."""
        return deref(self.map).nreadout()

    @property
    def blocks(self):
        """Block ``(offset, count)`` of the readout vector for each species."""
        cdef int z
        return [
            (deref(self.map).offset(z), deref(self.map).count(z))
            for z in range(len(self.elements))
        ]

    @property
    def weights(self):
        """Mean readout weights, shape (M,)."""
        return np.array(deref(self.model).readout.mean())

    @property
    def has_posterior(self):
        """Whether the readout has a covariance or samples."""
        return deref(self.model).readout.has_posterior()

    @property
    def posterior_memory(self):
        """Bytes of the covariance or the samples that are kept."""
        return deref(self.model).readout.memory()

    @property
    def min_distance(self):
        """Shortest distance in the latest pass, Å."""
        return deref(self.state).min_distance

    @property
    def baseline_energy(self):
        """Energy without readout weight (one-body, core repulsion) in the latest pass, eV."""
        return deref(self.state).baseline_energy

    def with_readout(self, mean, covariance=None):
        """The same features read out with other weights.

        Parameters
        ----------
        mean : array_like, shape (M,)
            Mean weights, eV.
        covariance : array_like, shape (M, M), optional
            Of the weights, eV²; without it the model has no posterior.

        Returns
        -------
        Model
            Shares the feature map with this one.
        """
        cdef int m = self.nreadout
        cdef Model other = Model.__new__(Model)
        cdef CModel model
        cdef vector[double] numbers = as_doubles(mean, (m,), "mean")
        model.name = deref(self.model).name
        model.map = deref(self.model).map
        model.readout = Readout(numbers)
        if covariance is not None:
            numbers = np.ravel(as_doubles(covariance, (m, m), "covariance"))
            model.readout.set_covariance(numbers)
        other._hold(model)
        return other

    def evaluate(self, NeighborView nb, weights=None, double baseline=1.0, per_atom_weights=None,
                 two_pass=False):
        """Energy, forces and virials for given readout weights.

        Parameters
        ----------
        nb : NeighborView
        weights : array_like, shape (M,), optional
            Readout weights; default: the mean.
        baseline : float
            Weight of the part without readout.
        per_atom_weights : array_like, shape (c, max_features), optional
            Weights of each centre instead of common ones.
        two_pass : bool
            Forward pass, then backward pass, instead of the fused one.

        Returns
        -------
        dict
            energy (eV), energies (n,), forces (n, 3), virial (9,), virials (n, 9); the virials in the
            order xx yy zz xy xz yz yx zx zy; ghosts are not folded back.
        """
        cdef int n = nb.view.ntotal, m = self.nreadout
        cdef const double[::1] w
        cdef const double[:, ::1] w_atom
        cdef Cotangent cotangent
        cdef Result result
        cotangent.shared = cotangent.per_atom = NULL
        cotangent.baseline = baseline
        if per_atom_weights is None:
            w = self.weights if weights is None else as_doubles(weights, (m,), "weights")
            cotangent.shared = &w[0] if m else NULL
        else:
            w_atom = as_doubles(
                per_atom_weights,
                (nb.ncenters, deref(self.map).max_features()),
                "per_atom_weights",
            )
            cotangent.per_atom = &w_atom[0, 0] if nb.ncenters else NULL
            two_pass = True
        energies, forces = np.zeros(n), np.zeros((n, 3))
        virial, virials = np.zeros(9), np.zeros((n, 9))
        cdef double[::1] energies_view = energies, virial_view = virial
        cdef double[:, ::1] forces_view = forces, virials_view = virials
        result.energy = 0.0
        result.virial = &virial_view[0]
        result.eatom = &energies_view[0] if n else NULL
        result.forces = &forces_view[0, 0] if n else NULL
        result.vatom = &virials_view[0, 0] if n else NULL
        if two_pass:
            deref(self.map).forward(nb.view, deref(self.state), NULL, NULL)
            deref(self.map).backward(nb.view, deref(self.state), 1, &cotangent, &result)
        else:
            deref(self.map).evaluate(nb.view, deref(self.state), cotangent, result)
        return {
            "energy": result.energy,
            "energies": energies,
            "forces": forces,
            "virial": virial,
            "virials": virials,
        }

    def backward(self, NeighborView nb, weights, baseline):
        """Energies and forces of several sets of readout weights from one pass over the geometry.

        Parameters
        ----------
        nb : NeighborView
        weights : array_like, shape (k, M)
            Readout weights.
        baseline : array_like, shape (k,)
            Weights of the part without readout.

        Returns
        -------
        energies : ndarray, shape (k,)
            eV.
        forces : ndarray, shape (k, n, 3)
            eV/Å; ghosts are not folded back.
        """
        cdef const double[:, ::1] w = as_doubles(weights, (-1, self.nreadout), "weights")
        cdef const double[::1] e0 = as_doubles(baseline, (w.shape[0],), "baseline")
        cdef int s, k = w.shape[0], n = nb.view.ntotal
        energies, forces = np.zeros(k), np.zeros((k, n, 3))
        cdef double[:, :, ::1] forces_view = forces
        cdef vector[Cotangent] cotangents
        cdef vector[Result] results
        cotangents.resize(k)
        results.resize(k)
        for s in range(k):
            cotangents[s].shared = &w[s, 0] if w.shape[1] else NULL
            cotangents[s].baseline = e0[s]
            results[s].forces = &forces_view[s, 0, 0] if n else NULL
        deref(self.map).forward(nb.view, deref(self.state), NULL, NULL)
        deref(self.map).backward(nb.view, deref(self.state), k, cotangents.data(), results.data())
        for s in range(k):
            energies[s] = results[s].energy
        return energies, forces

    def features(self, NeighborView nb):
        """Features of each centre, shape (c, max_features), padded with zeros, and their sum, shape (M,)."""
        cdef int m = self.nreadout
        per_atom = np.zeros((nb.ncenters, deref(self.map).max_features()))
        total = np.zeros(m)
        cdef double[:, ::1] per_atom_view = per_atom
        cdef double[::1] total_view = total
        deref(self.map).forward(
            nb.view, deref(self.state), &total_view[0] if m else NULL,
            &per_atom_view[0, 0] if per_atom.size else NULL,
        )
        return per_atom, total

    def sums(self, NeighborView nb):
        """Sum of the features over centres, shape (M,), without forming them for each atom."""
        cdef int m = self.nreadout
        total = np.zeros(m)
        cdef double[::1] view = total
        deref(self.map).forward(nb.view, deref(self.state), &view[0] if m else NULL, NULL)
        return total

    def jacobian(self, NeighborView nb, owner, int nowners, generic=False):
        """Rows of -∂Φ/∂x and of the features' virial, shape (3 * nowners + 6, M).

        Parameters
        ----------
        nb : NeighborView
        owner : array_like of int, shape (n,)
            Atom on which the force on atom j of the view is booked.
        nowners : int
            Number of owners.
        generic : bool
            Use the family-independent implementation (one backward pass for each weight).
        """
        owner = as_ints(owner, (nb.view.ntotal,), "owner")
        if owner.size and (owner.min() < 0 or owner.max() >= nowners):
            raise ValueError(f"owner must lie in [0, {nowners}), found {owner.min()}..{owner.max()}")
        rows = np.zeros((3 * nowners + 6, self.nreadout))
        if not rows.size:
            return rows
        cdef const int[::1] owner_view = owner
        cdef double[:, ::1] rows_view = rows
        cdef const int *first = &owner_view[0] if owner.size else NULL
        if generic:
            deref(self.map).default_jacobian(nb.view, deref(self.state), nowners, first,
                                                   &rows_view[0, 0])
        else:
            deref(self.map).jacobian(nb.view, deref(self.state), nowners, first,
                                           &rows_view[0, 0])
        return rows

    @property
    def has_grades(self):
        """Whether there is an active set: in the posterior, or in the model file itself (.almtp)."""
        return deref(self.model).has_grades()

    def grades(self, NeighborView nb):
        """Extrapolation grade γ of each centre by the active set, shape (c,)."""
        grades = np.zeros(nb.ncenters)
        cdef double[::1] view = grades
        if not nb.ncenters:
            return grades
        if deref(self.model).active.empty():
            deref(self.map).grades(nb.view, deref(self.state), &view[0])
            return grades
        features, species = self.features(nb)[0], nb.species[nb.centers]
        cdef const double[:, ::1] phi
        cdef int z
        for z in np.unique(species):
            phi = features[species == z]
            found = np.zeros(len(phi))
            view = found
            deref(self.model).active.grades(z, phi.shape[0], phi.shape[1], &phi[0, 0], &view[0])
            grades[species == z] = found
        return grades

    @property
    def has_noise(self):
        """Whether the model has learned the noise of its force labels (networks)."""
        return deref(self.map).has_noise()

    def noise(self, NeighborView nb):
        """Learned variance of each force component at each centre, shape (c,), (eV/Å)²."""
        variances = np.zeros(nb.ncenters)
        cdef double[::1] view = variances
        if nb.ncenters:
            deref(self.map).noise(nb.view, deref(self.state), &view[0])
        return variances

    def radial_gradient(self, NeighborView nb, weights, double energy_weight, displacement):
        """Derivative of ``energy_weight`` · E + Σ_j u_j · ∂E/∂x_j by the radial coefficients (MTP only).

        Parameters
        ----------
        nb : NeighborView
        weights : array_like, shape (M,)
            Readout weights.
        energy_weight : float
        displacement : array_like, shape (n, 3)
            u of every atom of the view, ghosts too.

        Returns
        -------
        ndarray, shape (coefficients,)
            In the order of the file: centre, neighbour, μ, k.
        """
        cdef const double[::1] w = as_doubles(weights, (self.nreadout,), "weights")
        cdef const double[:, ::1] u = as_doubles(displacement, (nb.view.ntotal, 3), "displacement")
        cdef const Mtp *map = &as_mtp(deref(self.map))
        gradient = np.zeros(map.radial().size())
        cdef double[::1] view = gradient
        if nb.ncenters:
            map.radial_gradient(nb.view, &w[0], energy_weight, &u[0, 0], &view[0])
        return gradient

    def variance(self, phi):
        """Variance Φ·ΣΦ (eV²) along summed features Φ, and ΣΦ, shape (M,)."""
        cdef const double[::1] p = as_doubles(phi, (self.nreadout,), "phi")
        v = np.zeros(self.nreadout)
        cdef double[::1] v_view = v
        if not v.size:
            return 0.0, v
        return deref(self.model).readout.variance(&p[0], &v_view[0]), v

    def row_variances(self, rows):
        """Variances r·Σr, shape (n,), along rows (n, M) of the whole readout vector."""
        cdef const double[:, ::1] r = as_doubles(rows, (-1, self.nreadout), "rows")
        cdef int n = r.shape[0], m = r.shape[1]
        variances = np.zeros(n)
        cdef double[::1] var_view = variances
        if n and m:
            deref(self.model).readout.variances(n, m, 0, m, &r[0, 0], NULL, &var_view[0])
        return variances

    def variances(self, int species, phi):
        """Variances φ·Σφ (eV²), shape (n,), and Σφ, shape (n, f), of atoms of one species."""
        offset, count = self.blocks[species]
        cdef const double[:, ::1] p = as_doubles(phi, (-1, deref(self.map).max_features()), "phi")
        cdef int n = p.shape[0]
        v, variances = np.zeros((n, p.shape[1])), np.zeros(n)
        cdef double[:, ::1] v_view = v
        cdef double[::1] var_view = variances
        if n:
            deref(self.model).readout.variances(n, p.shape[1], offset, count, &p[0, 0], &v_view[0, 0],
                                         &var_view[0])
        return variances, v


def split_name(argument):
    """Path, names of the species and version of GPUMD out of ``FILE``, ``FILE:El1,El2`` or ``FILE:gpumd=5.3``.

    Returns
    -------
    path : str
    elements : list of str
    gpumd : str
    """
    cdef ModelName name = split_model_name(str(argument).encode())
    cdef vector[string] names = name.elements
    return name.path.decode(), [element.decode() for element in names], name.gpumd.decode()


def members(path, elements=(), named=False, gpumd=""):
    """Models of a file by which a committee counts it: of a network one for each sample.

    Parameters
    ----------
    path : str
        As of :class:`Model`.
    elements : iterable of str
        As of :class:`Model`.
    named : bool
        They were given for this very file: other names in it are an error.
    gpumd : str
        As of :class:`Model`.

    Returns
    -------
    list of Model
    """
    cdef LoadOptions options
    options.named = named
    options.gpumd = str(gpumd).encode()
    for element in elements:
        options.elements.push_back(str(element).encode())
    cdef vector[CModel] loaded = load_members(read_model_files(str(path).encode()), options)
    cdef Model model
    cdef size_t k
    models = []
    for k in range(loaded.size()):
        model = Model.__new__(Model)
        model._hold(loaded[k])
        models.append(model)
    return models


def fuse(models):
    """Several models as one whose features are theirs, work that they have in common done once.

    Parameters
    ----------
    models : sequence of Model

    Returns
    -------
    Model or None
        None where they have no work in common. Within the block of a species the models' blocks
        follow each other; the weights are the models' means.
    """
    cdef Model model, fused = Model.__new__(Model)
    cdef vector[const CModel *] members
    for model in models:
        members.push_back(model.model.get())
    cdef CModel joined = fuse_models(members)
    fused._hold(joined)
    return None if fused.map == NULL else fused


cdef extern from "core/parallel/reducer.h" namespace "uq":
    cdef cppclass Reducer:
        pass

    cdef cppclass NoReducer(Reducer):
        NoReducer()


cdef extern from "core/committee/committee.h" namespace "uq":
    cdef cppclass CCommittee "uq::Committee":
        CCommittee(vector[shared_ptr[CModel]] members) except +
        double sigma()
        double energy()
        double member_energy(int k)
        cbool has_uncertainty()
        cbool has_grades()
        cbool has_noise()


cdef extern from "core/committee/atomic_uncertainty.h" namespace "uq":
    cdef cppclass PerAtom "uq::AtomicUncertainty::PerAtom":
        double *sigma
        double *grades


cdef extern from "core/committee/pass.h" namespace "uq":
    cdef cppclass Pass "uq::Pass":
        double mean
        double sigma
        Result result


cdef extern from "core/map/evaluator.h" namespace "uq":
    const int KEEP "uq::Evaluator::KEEP"


cdef extern from "core/committee/engine.h" namespace "uq":
    cdef cppclass FusedMembers:
        const vector[int] &members()

    cdef cppclass Engine:
        Engine(CCommittee committee, vector[vector[int]] species_of_type, unique_ptr[Reducer] reducer,
               double energy_unit, cbool mixed, int keep) except +
        const CCommittee &committee()
        void set_threads(int n) except +
        void set_atoms(int nall, const double *x, const int *type, int inum, int gnum, const int *ilist,
                       const int *numneigh, const int *const *firstneigh, int mask, Exchange *exchange) except +
        const vector[FusedMembers] &groups()
        void members(size_t group, Result *results) except + nogil
        double forward() except + nogil
        void backward(const vector[Pass] &passes) except + nogil
        double local(vector[Pass] passes, const PerAtom &wanted) except + nogil
        void noise(double *sigma) except + nogil
        void forget_reference_energies()


cdef class Committee:
    """Models evaluated together, as ``pair_style uq`` does: shared work done once, one adjoint pass for σ.

    Parameters
    ----------
    models : sequence of Model
        Of any families; at least one.
    elements : sequence of str
        Meaning of the species of the views: chemical symbols that every model knows.

    Raises
    ------
    ValueError
        A model does not know one of the elements.
    """

    cdef unique_ptr[Engine] engine
    cdef readonly list models
    cdef readonly tuple elements

    def __init__(self, models, elements):
        cdef vector[shared_ptr[CModel]] members
        cdef vector[vector[int]] species
        cdef Model model
        self.models, self.elements = list(models), tuple(elements)
        for model in self.models:
            known = model.elements
            if unknown := [e for e in self.elements if e not in known]:
                raise ValueError(
                    f"element {', '.join(unknown)} is not in the model, which knows {' '.join(known)}"
                )
            members.push_back(model.model)
            species.push_back([known.index(e) for e in self.elements])
        cdef unique_ptr[CCommittee] committee = make_unique[CCommittee](members)
        cdef unique_ptr[Reducer] alone
        alone.reset(new NoReducer())
        self.engine.reset(new Engine(move(deref(committee)), species, move(alone), 1.0, False, KEEP))

    def __len__(self):
        return len(self.models)

    @property
    def has_uncertainty(self):
        """Whether there is a posterior, or more than one member."""
        return deref(self.engine).committee().has_uncertainty()

    @property
    def has_grades(self):
        """Whether a member has an active set."""
        return deref(self.engine).committee().has_grades()

    @property
    def has_noise(self):
        """Whether a member has learned the noise of its force labels."""
        return deref(self.engine).committee().has_noise()

    cdef _set_atoms(self, NeighborView nb):
        deref(self.engine).set_atoms(
            nb.view.ntotal, nb.view.x, nb.view.species, nb.view.ncenters, 0, nb.view.centers,
            nb.view.counts, nb.view.neighbors, nb.view.mask, nb.view.exchange)

    def members(self, NeighborView nb):
        """Energies, forces and virials of each member by its mean weights.

        Parameters
        ----------
        nb : NeighborView
            Its species count `elements`.

        Returns
        -------
        dict
            As of :meth:`Model.evaluate`, each array with the members first: energy (K,), energies (K, n), forces
            (K, n, 3), virial (K, 9).
        """
        cdef int n = nb.view.ntotal, count = len(self.models)
        energy, energies = np.zeros(count), np.zeros((count, n))
        forces, virial = np.zeros((count, n, 3)), np.zeros((count, 9))
        cdef double[:, ::1] energies_view = energies, virial_view = virial
        cdef double[:, :, ::1] forces_view = forces
        cdef vector[Result] results
        cdef size_t g, s
        cdef int k
        self._set_atoms(nb)
        for g in range(deref(self.engine).groups().size()):
            results.clear()
            results.resize(deref(self.engine).groups()[g].members().size())
            for s in range(results.size()):
                k = deref(self.engine).groups()[g].members()[s]
                results[s].virial = &virial_view[k, 0]
                if n:
                    results[s].eatom = &energies_view[k, 0]
                    results[s].forces = &forces_view[k, 0, 0]
            deref(self.engine).members(g, results.data())
            for s in range(results.size()):
                energy[deref(self.engine).groups()[g].members()[s]] = results[s].energy
        return {"energy": energy, "energies": energies, "forces": forces, "virial": virial}

    def uncertainty(self, NeighborView nb):
        """σ_E and its forces.

        Returns
        -------
        sigma : float
            eV; 0 where it is no more than rounding.
        forces : ndarray, shape (n, 3)
            -∇σ_E, eV/Å; ghosts are not folded back.
        """
        cdef int n = nb.view.ntotal
        forces = np.zeros((n, 3))
        cdef double[:, ::1] view = forces
        cdef vector[Pass] passes
        passes.resize(1)
        passes[0].mean, passes[0].sigma = 0.0, 1.0
        passes[0].result.forces = &view[0, 0] if n else NULL
        self._set_atoms(nb)
        deref(self.engine).forward()
        deref(self.engine).backward(passes)
        return deref(self.engine).committee().sigma(), forces

    def atomic(self, NeighborView nb):
        """σ_i (eV), shape (c,), and extrapolation grades, shape (c,), of each centre; None: there are none.

        Atomic energies of a committee's members are counted from their means over the species of this structure.
        """
        cdef int n = nb.view.ntotal
        sigma = np.zeros(n) if self.has_uncertainty else None
        grades = np.zeros(n) if self.has_grades else None
        cdef double[::1] sigma_view, grades_view
        cdef PerAtom wanted
        cdef vector[Pass] none
        wanted.sigma = wanted.grades = NULL
        if not n:
            return sigma, grades
        if sigma is not None:
            sigma_view = sigma
            wanted.sigma = &sigma_view[0]
        if grades is not None:
            grades_view = grades
            wanted.grades = &grades_view[0]
        self._set_atoms(nb)
        deref(self.engine).forget_reference_energies()
        deref(self.engine).local(none, wanted)
        return tuple(None if found is None else found[nb.centers] for found in (sigma, grades))

    def noise(self, NeighborView nb):
        """Learned standard deviation of a force component in labels, shape (c,), eV/Å."""
        cdef int n = nb.view.ntotal
        sigma = np.zeros(n)
        cdef double[::1] view = sigma
        if n:
            self._set_atoms(nb)
            deref(self.engine).noise(&view[0])
        return sigma[nb.centers]
