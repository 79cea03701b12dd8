# SPDX-License-Identifier: GPL-2.0-or-later
"""A LAMMPS job is judged by what LAMMPS wrote: every death, every full disk, every name of a folder."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pyuq import lmp
from pyuq.io.files import Lock, atomic_write, clear_temporaries, write_text
from pyuq.jobs import Job, NotRunError, check_data, check_dump, check_rows, error_of, launch, run

SIGNALS = ("HUP", "INT", "KILL", "TERM", "SEGV", "BUS", "XCPU", "ABRT", "FPE")


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Makes a shell script the LAMMPS that is started; ``$PMI_RANK`` is set under mpirun."""

    def make(command: str) -> None:
        program = tmp_path / "lmp"
        program.write_text(f"#!/bin/sh\n{command}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PYUQ_LMP", str(program))

    return make


@pytest.fixture
def job(tmp_path):
    (tmp_path / ".a.running").mkdir()
    (tmp_path / ".a.running" / "in.lmp").write_text("")

    def check(folder: Path) -> None:
        if (folder / "result").read_text() != "whole\n":
            raise ValueError(f"{folder / 'result'}: damaged")

    return Job(tmp_path / ".a.running", tmp_path / "a", "in.lmp", check)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", SIGNALS)
def test_a_death_of_any_rank_by_any_signal_is_no_result(fake, job, ranks, name):
    """Whatever the launcher makes of it (MPICH: 9, 11, 15, 25, 255): nothing is decided of the script."""
    fake(f"echo whole > result; [ ${{PMI_RANK:-0}} = {ranks - 1} ] && kill -{name} $$; sleep 1")
    with pytest.raises(NotRunError, match=r"was killed .*; what is finished is kept"):
        run(job, ranks, 60.0)
    assert not job.final.exists()


@pytest.mark.parametrize(
    ("ranks", "code"),
    [(2, 1), (2, 137), *((1, code) for code in (1, 2, 9, 11, 134, 139, 143, 255))],
)
def test_exit_codes_decide_nothing(fake, job, ranks, code):
    """With LAMMPS's error beside it every code is an error of LAMMPS; without, none is."""
    fake(f"exit {code}")
    with pytest.raises(NotRunError):
        run(job, ranks, 60.0)
    fake(f"echo 'ERROR on proc 0: Lost atoms (src/thermo.cpp:1)'; exit {code}")
    run(job, ranks, 60.0)
    assert error_of(job.final) == "ERROR on proc 0: Lost atoms (src/thermo.cpp:1)"


@pytest.mark.parametrize(
    "said",
    [
        "ERROR: Cannot open file restart.x: No space left on device (src/write_restart.cpp:1)",
        "ERROR on proc 0: Failed to reallocate 12884901888 bytes for array atom:x (src/memory.cpp:1)",
        "ERROR: std::bad_alloc",
        "an ERROR in the middle of a line",
        "[host:1] *** An error occurred in MPI_Allreduce",
    ],
)
def test_an_error_of_the_machine_is_no_result(fake, job, said):
    fake(f"echo '{said}'; exit 1")
    with pytest.raises(NotRunError) as caught:
        run(job, 1, 60.0)
    assert said in str(caught.value)
    assert not job.final.exists()


@pytest.mark.parametrize("content", ["", "who", "whole"])
def test_files_that_are_not_whole_are_no_result(fake, job, content):
    """On a full disk LAMMPS ends with 0; the same call makes the files again once there is room."""
    fake(f"printf '{content}' > result")
    with pytest.raises(
        NotRunError, match=r"not whole: .*result: damaged. Is the disk full \(.* MiB free"
    ):
        run(job, 1, 60.0)
    assert not job.final.exists()
    fake("echo whole > result")
    run(job, 1, 60.0)
    assert (job.final / "result").read_text() == "whole\n"


def test_a_missing_file_is_no_result(fake, job):
    fake("true")
    with pytest.raises(NotRunError, match="No such file"):
        run(job, 1, 60.0)


def test_files_are_on_the_disk_before_the_folder_has_its_name(fake, job, monkeypatch):
    fake("echo whole > result")
    events, synced, replace = [], os.fsync, os.replace

    def fsync(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        synced(descriptor)

    def rename(a, b):
        events.append("rename")
        replace(a, b)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", rename)
    run(job, 1, 60.0)
    before = events[: events.index("rename")]
    assert {"result", "screen.txt", "in.lmp", ".a.running"} <= set(before)
    assert events[-1] == job.final.parent.name


@pytest.mark.parametrize("ranks", [1, 2])
def test_an_error_of_lammps_itself_is_a_result(job, ranks):
    (job.running / "in.lmp").write_text("units metal\nno_such_command\n")
    run(job, ranks, 60.0)
    assert error_of(job.final).startswith("ERROR: Unknown command: no_such_command")


def test_time_is_limited(fake, job):
    fake("exec sleep 60")
    run(job, 1, 0.2)
    assert error_of(job.final) == "timed out after 0.2 s"


def test_a_missing_executable_is_named(job, monkeypatch):
    monkeypatch.setenv("PYUQ_LMP", "/no/such/lmp")
    with pytest.raises(FileNotFoundError, match="PYUQ_LMP=/no/such/lmp is not an executable"):
        run(job, 1, 60.0)


def test_lammps_on_a_full_disk(tmp_path):
    """The real one, whose files may grow to some size only, at many sizes: complete, or not run."""
    script = (
        "units metal\nregion b block 0 4 0 4 0 4\nlattice fcc 4.0\ncreate_box 1 b\ncreate_atoms 1 box\n"
        "mass 1 30\npair_style zero 3.0\npair_coeff * *\nvelocity all create 300 1\nfix m all nve\n"
        "dump d all custom 2 d.dump id type xu yu zu\nfix t all ave/time 2 1 2 c_thermo_temp file t.txt\n"
        "run 10\nwrite_data final.data\n"
    )

    def check(folder: Path) -> None:
        check_dump(folder / "d.dump", 10, 2)
        check_rows(folder / "t.txt", 6)
        check_data(folder / "final.data")

    (tmp_path / "in.lmp").write_text(script)
    launch(tmp_path, "in.lmp", 1, 60.0, check)
    largest = max(path.stat().st_size for path in tmp_path.iterdir())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    for path in tmp_path.iterdir():
        whole = path.read_bytes()
        if path.name in ("d.dump", "t.txt", "final.data"):
            for part in (0, 1, len(whole) // 2, len(whole) - 1):
                path.write_bytes(whole[:part])
                with pytest.raises(ValueError, match=path.name):
                    check(tmp_path)
            path.write_bytes(whole)
    for size in (0, 100, 4096, largest // 2, largest - 1):
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (size, limit[1])
        )  # SIGXFSZ is ignored by Python's children
        try:
            with pytest.raises((NotRunError, OSError)):
                launch(tmp_path, "in.lmp", 1, 60.0, check)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert launch(tmp_path, "in.lmp", 1, 60.0, check) == ""


@pytest.mark.parametrize("ranks", [1, 2])
def test_jobs_run_in_folders_of_any_name(tmp_path, ranks):
    for name in (
        "a b",
        "run#2",
        "$HOME",
        "${x}",
        "it's",
        'say "so"',
        "new\nline",
        "ü & é",
        "$(touch x)",
        "-rf",
    ):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "in.lmp").write_text("print done file result\n")
        if ranks == 1 or name in ("run#2", "new\nline"):
            assert launch(folder, "in.lmp", ranks, 60.0, lambda f: (f / "result").read_text()) == ""
            assert (folder / "result").read_text() == "done\n"


@pytest.mark.parametrize("name", ["a b", "run#2", "x&", "a*[b]?"])
def test_names_between_quotes_are_read_as_they_are(tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.in").write_text("print done file result\n")
    (tmp_path / "in.lmp").write_text(f"include {lmp.quoted(tmp_path / name / 'x.in')}\n")
    assert launch(tmp_path, "in.lmp", 1, 60.0, lambda f: (f / "result").read_text()) == ""


@pytest.mark.parametrize("name", ["a$b", "it's", 'a"b', "a\nb", "ü", "a\tb", "a\x00"])
def test_names_that_lammps_would_change_are_refused(name):
    with pytest.raises(ValueError, match="LAMMPS cannot read a file whose name or folder holds"):
        lmp.quoted(name)


def test_a_prepared_link_does_not_lead_the_data_elsewhere(tmp_path):
    """Names of temporary files cannot be foreseen, and what is there already is never opened."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    seen = set()
    for _ in range(3):
        with atomic_write(tmp_path / "out") as file:
            seen.add(Path(file.name).name)
            file.write("data")
    assert len(seen) == 3
    assert not any(str(os.getpid()) in name.split(".") for name in seen)
    for name in seen:
        (tmp_path / name).symlink_to(victim)
    (tmp_path / "link").symlink_to(victim)
    write_text(tmp_path / "link", "data")
    (tmp_path / ".lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        Lock(tmp_path)
    assert victim.read_text() == "precious"


def test_an_existing_temporary_file_is_not_opened(tmp_path, monkeypatch):
    victim = tmp_path / "victim"
    victim.write_text("precious")
    monkeypatch.setattr("secrets.token_hex", lambda n: "0" * 16)
    (tmp_path / ".out.0000000000000000.tmp").symlink_to(victim)
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "out", "data")
    assert victim.read_text() == "precious"


def test_what_killed_writers_left_is_cleared(tmp_path):
    program = (
        "import os, signal\nfrom pyuq.io.files import atomic_write\n"
        "with atomic_write('sub/out') as file:\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / ".mine.tmp").write_text("")
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=False)
    assert len(list((tmp_path / "sub").iterdir())) == 2
    clear_temporaries(tmp_path)
    assert [path.name for path in (tmp_path / "sub").iterdir()] == [".mine.tmp"]


def test_a_lock_names_its_holder(tmp_path):
    with (
        Lock(tmp_path),
        pytest.raises(RuntimeError, match=rf"another process .*\(process {os.getpid()} on "),
    ):
        Lock(tmp_path)
    Lock(tmp_path).release()
