# SPDX-License-Identifier: GPL-2.0-or-later
"""Labels computed in killable worker processes, several at a time."""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event

import numpy as np
from ase import Atoms
from ase.io.jsonio import decode, encode

from pyuq.brief import brief
from pyuq.io.extxyz import labelled
from pyuq.jobs import NotRunError
from pyuq.labels.base import Failure, defect
from pyuq.lmp import POLL, environment, guarded, interruptible

START = 600.0  # s, longest time that a worker takes to load its calculator
# Signals of the user, the terminal or the queue. Others may come from the structure: they cost a further attempt.
OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGXCPU)


class WorkerError(Exception):
    """The worker died or did not answer in time."""


@brief("timeout")
class Worker:
    """One worker process; see :mod:`pyuq.labels.worker`.

    Parameters
    ----------
    description : dict
        Of the reference method, for :func:`pyuq.labels.reference.make_reference`.
    timeout : float
        Longest time for one structure, s; what the process takes to start and to import its calculator is not its.
    stop : threading.Event
        Ends it when set.
    """

    def __init__(self, description: dict, timeout: float, stop: Event):
        self.timeout = timeout
        self.stop = stop
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the worker)
        self._process = guarded(
            [
                sys.executable,
                "-P",
                "-m",
                "pyuq.labels.worker",
            ],  # -P: no module of the current folder
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment(launched=False),
        )
        self._buffer, self._ready = b"", False
        self._send(json.dumps(description))

    def compute(self, atoms: Atoms) -> dict:
        """Return energy (eV), forces (eV/Å) and stress (eV/Å³), or an ``error``.

        Raises
        ------
        WorkerError
            The process died or ran past its time.
        pyuq.jobs.NotRunError
            It was ended from outside.
        InterruptedError
            `stop` is set.

        The process is gone after either.
        """
        if not self._ready:
            self._answer(START, f"did not start within {START:g} s")
            self._ready = True
        self._send(encode(atoms.todict()))
        return decode(self._answer(self.timeout, f"no answer within {self.timeout:g} s"))

    def _answer(self, limit: float, late: str) -> str:
        """Next line of the process, which must come within `limit` seconds."""
        deadline = time.monotonic() + limit
        stdout = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if self.stop.is_set():
                self.kill()
                raise InterruptedError("interrupted")
            left = deadline - time.monotonic()
            if left <= 0.0:
                self.kill()
                raise WorkerError(f"{late}, killed")
            if not select.select([stdout], [], [], min(left, POLL))[0]:
                continue
            chunk = os.read(stdout, 1 << 20)
            if not chunk:
                raise WorkerError(self._obituary())
            self._buffer += chunk
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def kill(self) -> None:
        """End the process and everything that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()
        self._errors.close()

    def _send(self, line: str) -> None:
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._obituary()) from None

    def _obituary(self) -> str:
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self.kill()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        if -code in OUTSIDE:
            raise NotRunError(
                f"a label process was ended from outside ({signal.Signals(-code).name}): that says nothing of its "
                "structure. Begin again; what is finished is kept"
            )
        return f"label process ended with {how}" + (f": {lines[-1]}" if lines else "")


@brief("description", "workers", "timeout")
class PoolLabeller:
    """Labels from a reference method that runs in worker processes.

    Parameters
    ----------
    description : dict
        Of the reference method, for :func:`pyuq.labels.reference.make_reference`.
    workers : int
        Processes at a time.
    timeout : float
        Longest time for one structure, s; a worker that needs longer is killed.
    retries : int
        How often a structure whose calculation failed is tried again, in a fresh process.
    max_force : float
        Labels with a larger force are failures, eV/Å.
    """

    def __init__(
        self,
        description: dict,
        workers: int = 1,
        timeout: float = 600.0,
        retries: int = 1,
        max_force: float = np.inf,
    ):
        self.description = description
        self.workers = workers
        self.timeout = timeout
        self.retries = retries
        self.max_force = max_force

    def label(self, structures: list[Atoms]) -> list[Atoms | Failure]:
        """Label structures; see :meth:`pyuq.labels.base.Labeller.label`."""
        results: list[Atoms | Failure | None] = [None] * len(structures)
        jobs = SimpleQueue()
        for index in range(len(structures)):
            jobs.put(index)
        nthreads = min(self.workers, len(structures))
        with ThreadPoolExecutor(max(nthreads, 1)) as threads, interruptible() as stop:
            for future in [
                threads.submit(self._serve, structures, jobs, results, stop)
                for _ in range(nthreads)
            ]:
                future.result()
        return results

    def _serve(
        self, structures: list[Atoms], jobs: SimpleQueue, results: list, stop: Event
    ) -> None:
        """Take structures until none is left, with one worker that is replaced when it dies."""
        worker = None
        try:
            while True:
                try:
                    index = jobs.get_nowait()
                except Empty:
                    return
                results[index], worker = self._one(structures[index], worker, stop)
        finally:
            if worker is not None:
                worker.kill()

    def _one(
        self, atoms: Atoms, worker: Worker | None, stop: Event
    ) -> tuple[Atoms | Failure, Worker | None]:
        for _ in range(self.retries + 1):
            try:
                if worker is None:
                    worker = Worker(self.description, self.timeout, stop)
                reply = worker.compute(atoms)
            except WorkerError as error:
                worker, reason = None, str(error)
                continue
            if "error" not in reply:
                return self._judged(atoms, reply), worker
            worker.kill()
            worker, reason = None, reply["error"]
        return Failure(atoms, reason), worker

    def _judged(self, atoms: Atoms, reply: dict) -> Atoms | Failure:
        """Label of a reply, or why it is none: to ask again would not change it."""
        try:
            result = labelled(atoms, reply["energy"], reply["forces"], reply.get("stress"))
        except (KeyError, TypeError, ValueError) as error:
            return Failure(atoms, f"no label in the answer ({type(error).__name__}: {error})")
        reason = defect(result, self.max_force)
        return result if reason is None else Failure(atoms, reason)
