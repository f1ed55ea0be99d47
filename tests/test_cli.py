"""The command line as its user meets it: what it writes, says, refuses, and exits with."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import google_crc32c
import numpy as np
import pytest

from losslessnn import CorruptFrameError, compress, decompress, open_archive
from losslessnn.archives.format import ArchiveHeader, pack_header, pack_index
from losslessnn.archives.report import Stopwatch
from losslessnn.cli.batches import file_size
from losslessnn.cli.talk import explain
from losslessnn.comparing.picture import name_points
from losslessnn.newfile import NewFile
from losslessnn.recordings.layout import Literal
from losslessnn.recordings.source import Source
from support import TERMINATING, Outcome, Run, make_recording, posix, processor_seconds

PROGRAM = [sys.executable, "-c", "from losslessnn.cli import main; main()"]


def write_npy(path: str = "x.npy", samples: int = 3000, seed: int = 0) -> bytes:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    np.save(path, make_recording(samples, 4, seed=seed))
    return Path(path).read_bytes()


def refuse(error: Exception) -> NoReturn:
    raise error


# ------------------------------------------------------------------------------------------------------------


class TestHelp:
    def test_every_command_teaches_by_example(self, run: Run) -> None:
        for command in ("compress", "decompress", "inspect", "verify", "bench", "demo"):
            outcome = run(command, "--help")
            assert outcome.code == 0
            assert f"losslessnn {command}" in outcome.out.partition("Examples")[2]
            assert command in run("--help").out

    def test_options_speak_of_no_others_that_are_not_there(self, run: Run) -> None:
        for command in ("inspect", "verify"):
            assert "-o" not in run(command, "--help").out.split()

    def test_exit_codes_are_documented(self, run: Run) -> None:
        assert "Exit codes: 0" in run("--help").out

    def test_help_is_quick_and_loads_nothing_heavy(self) -> None:
        check = (
            "import sys\n"
            "from losslessnn.cli import main\n"
            "try: main(sys.argv[1:])\n"
            "except SystemExit: pass\n"
            "heavy = {'numpy', 'numba', 'numcodecs', 'zarr', 'torch', 'tqdm'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        for arguments in (["--help"], ["compress", "--help"], ["bench", "--help"], ["--version"]):
            subprocess.run([sys.executable, "-c", check, *arguments], check=True, stdout=subprocess.DEVNULL)
        assert processor_seconds([*PROGRAM, "--help"]) < 0.3

    def test_no_arguments_and_wrong_ones(self, run: Run) -> None:
        assert run("compress").code == 2
        assert run("nonsense").code == 2
        assert run("compress", "--nonsense", "x").code == 2
        assert run("compress", "-l", "10", "x").code == 2
        assert run("compress", "-d", "nonsense", "x").code == 2
        assert run("compress", "-n", "1" + "0" * 20, "x").code == 2
        for option in ("-s", "--max-error", "--chunk-seconds", "--chunk-mb"):
            for number in ("nan", "inf"):
                assert run("compress", option, number, "x").code == 2


class TestThereAndBack:
    def test_one_file_beside_itself(self, run: Run) -> None:
        original = write_npy()
        outcome = run("compress", "x.npy")
        assert outcome.code == 0
        assert "x.npy -> x.npy.lnn" in outcome.out
        assert "verified" in outcome.out
        assert outcome.err == ""
        os.unlink("x.npy")
        assert run("decompress", "x.npy.lnn").code == 0
        assert Path("x.npy").read_bytes() == original

    def test_many_files_into_a_folder_and_out_of_it(self, run: Run) -> None:
        originals = {
            name: write_npy(f"in/{name}.npy", 1000 + seed, seed) for seed, name in enumerate("abcde")
        }
        outcome = run("compress", *sorted(Path("in").iterdir()), "-o", "packed", "-T", "3")
        assert outcome.code == 0
        assert outcome.out.splitlines()[-1].startswith("5 files: ")
        assert "ratio" in outcome.out.splitlines()[-1]
        assert sorted(path.name for path in Path("packed").iterdir()) == [f"{n}.npy.lnn" for n in "abcde"]
        assert run("decompress", *Path("packed").iterdir(), "-o", "back").code == 0
        for name, content in originals.items():
            assert Path("back", name + ".npy").read_bytes() == content
        assert run("verify", *Path("packed").iterdir(), "--against", "in").code == 0

    def test_output_may_be_a_file_name(self, run: Run) -> None:
        original = write_npy()
        assert run("compress", "x.npy", "-o", "sub/other.lnn").code == 0
        assert run("decompress", "sub/other.lnn", "-o", "back.npy").code == 0
        assert Path("back.npy").read_bytes() == original
        assert run("decompress", "sub/other.lnn").code == 0
        assert Path("sub/x.npy").read_bytes() == original

    def test_raw_files(self, run: Run) -> None:
        make_recording(3000, 4).tofile("x.dat")
        with open("x.dat", "ab") as file:
            file.write(b"odd")
        outcome = run("compress", "x.dat", "-n", "4", "-d", "int16", "-s", "30000", "--chunk-seconds", "0.05")
        assert outcome.code == 0
        assert "note: 3 bytes follow" in outcome.out
        with open_archive("x.dat.lnn") as archive:
            assert archive.shape == (3000, 4)
            assert archive.sampling_rate == 30_000
            assert archive.frame_count == 2
        assert run("decompress", "x.dat.lnn", "-o", "back").code == 0
        assert Path("back/x.dat").read_bytes() == Path("x.dat").read_bytes()

    def test_standard_input_and_output(self, tmp_path: Path) -> None:
        raw = make_recording(3000, 4).tobytes()
        packed = subprocess.run(
            [*PROGRAM, "compress", "-n", "4", "-"], input=raw, capture_output=True, check=True
        )
        assert len(packed.stdout) < len(raw)
        assert b"verified" in packed.stderr
        restored = subprocess.run(
            [*PROGRAM, "decompress", "-"], input=packed.stdout, capture_output=True, check=True
        )
        assert restored.stdout == raw
        (tmp_path / "a.lnn").write_bytes(packed.stdout)
        command = [*PROGRAM, "decompress", str(tmp_path / "a.lnn"), "-o", "-", "-q"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert (done.stdout, done.stderr) == (raw, b"")
        # What had no name gets the one that is asked for, a folder only where no file can be meant.
        subprocess.run([*PROGRAM, "decompress", "a.lnn", "-o", "to/x.bin"], cwd=tmp_path, check=True)
        unpack = [*PROGRAM, "decompress", "-", "-o", "to/y.bin"]
        subprocess.run(unpack, cwd=tmp_path, input=packed.stdout, check=True)
        subprocess.run([*PROGRAM, "decompress", "a.lnn", "-o", "to"], cwd=tmp_path, check=True)
        assert {path.name: path.read_bytes() for path in (tmp_path / "to").iterdir()} == {
            "x.bin": raw, "y.bin": raw, "a": raw,
        }  # fmt: skip

    def test_a_file_to_standard_output(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(3000, 4))
        pack = [*PROGRAM, "compress", "x.npy", "-o", "-"]
        packed = subprocess.run(pack, cwd=tmp_path, capture_output=True, check=True).stdout
        checked = subprocess.run(
            [*PROGRAM, "verify", "-", "--against", "x.npy"], cwd=tmp_path, input=packed, capture_output=True
        )
        assert checked.returncode == 0
        (tmp_path / "there.lnn").write_bytes(packed)
        subprocess.run([*PROGRAM, "decompress", "there.lnn", "-o", "back"], cwd=tmp_path, check=True)
        assert (tmp_path / "back" / "x.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()

    def test_folders_with_all_that_is_in_them(self, run: Run) -> None:
        names = ["x.npy", "probe 1/x.npy", "probe 1/deep/y.npy"]
        originals = {name: write_npy(f"day/{name}", seed=seed) for seed, name in enumerate(names)}
        Path("day/notes.txt").write_text("left alone")
        write_npy("day/.hidden/z.npy")
        outcome = run("compress", "-r", "day", "-o", "day/packed")
        assert outcome.code == 0
        assert "1 other file left alone: .txt" in outcome.out
        assert run("compress", "-r", "day", "-o", "day/packed", "-f").code == 0  # archives are no recordings
        packed = {path.relative_to("day/packed").as_posix() for path in Path("day/packed").rglob("*.lnn")}
        assert packed == {f"{name}.lnn" for name in names}
        outcome = run("verify", "-r", "day/packed", "--against", "day")
        assert outcome.code == 0
        assert "3 archives intact" in outcome.out
        assert run("inspect", "-r", "day/packed").out.count("x.npy (npy)") == 2
        assert run("decompress", "-r", "day/packed", "-o", "back").code == 0
        assert {name: Path("back", name).read_bytes() for name in names} == originals
        assert run("compress", "-r", "day/probe 1", "--rm", "-q").code == 0
        assert not Path("day/probe 1/x.npy").exists()
        assert Path("day/probe 1/x.npy.lnn").exists()

    @posix
    def test_folders_with_files_of_any_kind(self, run: Run) -> None:
        write_npy("day/x.npy")
        make_recording(3000, 3).tofile("day/raw.dat")
        Path("day/noise.dat").write_bytes(np.random.default_rng(0).bytes(9999))
        header = "r1 6 360\n" + "r1.dat 16\n" * 6 + "r1.xyz 16\n" * 6
        for name in ("day/wfdb/r1.dat", "day/wfdb/r1.xyz"):
            Path(name).parent.mkdir(exist_ok=True)
            make_recording(3000, 6).tofile(name)
        Path("day/wfdb/r1.hea").write_text(header)
        Path("day/notes.txt").write_text("whatever")
        Path("day/nothing").touch()
        os.mkfifo("day/pipe")
        assert run("compress", "--all", "day").code == 2
        outcome = run("compress", "-r", "day", "--all", "-o", "packed")
        assert outcome.code == 0
        assert "raw.dat.lnn" in outcome.out
        assert "taken as 3 channels of int16, which it looks like" in outcome.out
        assert "its number of channels (-n) is not known" in outcome.out
        assert "1 other file left alone: pipe" in outcome.out
        assert run("decompress", "-r", "packed", "-o", "back").code == 0
        os.unlink("day/pipe")
        originals = sorted(path for path in Path("day").rglob("*") if path.is_file())
        assert len(originals) == 8
        for path in originals:
            assert Path("back", path.relative_to("day")).read_bytes() == path.read_bytes()
        os.unlink("packed/wfdb/r1.hea.lnn")
        outcome = run("decompress", "-r", "packed/wfdb", "-o", "there", "-T", "2")
        assert outcome.out.count("r1.hea restored too") == 1
        assert Path("there/r1.hea").read_text() == header

    @posix
    def test_links_to_folders_are_left_alone_and_named(self, run: Run) -> None:
        write_npy("day/x.npy")
        write_npy("elsewhere/y.npy")
        Path("day/link").symlink_to("../elsewhere", target_is_directory=True)
        Path("day/deep").mkdir()
        Path("day/deep/round").symlink_to("..", target_is_directory=True)
        outcome = run("compress", "-r", "--all", "day", "-o", "packed")
        assert outcome.code == 0
        named = "links to folders left alone (give the folders themselves): day/link, day/deep/round\n"
        assert named in outcome.out
        assert [path.name for path in Path("packed").rglob("*.lnn")] == ["x.npy.lnn"]
        assert "link" not in run("compress", "-r", "elsewhere", "-o", "packed").out
        assert "nothing to do; links to folders left alone" in run("compress", "-r", "day/deep").err

    def test_what_is_hidden_or_empty_is_left_alone_and_named(self, run: Run) -> None:
        write_npy("day/x.npy")
        write_npy("day/.git/y.npy")
        for number in range(12):
            Path(f"day/.hidden{number:02d}").touch()
        Path("day/probe/empty").mkdir(parents=True)
        Path("day/notes.txt").write_text("whatever")
        outcome = run("compress", "-r", "--all", "day", "-o", "packed")
        assert outcome.code == 0
        named = ", ".join(f"day/.hidden{number:02d}" for number in range(9))
        assert f"\n12 hidden files left alone: {named}, …\n" in outcome.out
        assert "\n1 hidden folder left alone: day/.git\n" in outcome.out
        assert "\n1 empty folder left alone: day/probe/empty\n" in outcome.out
        assert len(list(Path("packed").rglob("*.lnn"))) == 2
        outcome = run("compress", "-r", "day", "-o", "again")
        assert "1 other file left alone: .txt\n12 hidden files left alone" in outcome.out
        assert "empty" not in outcome.out, "nobody asked for all there is"
        Path("only/.hidden").mkdir(parents=True)
        assert "only: nothing to do; 1 hidden folder left alone" in run("compress", "-r", "only").err
        assert "hidden" in run("compress", "--help").out

    def test_what_is_new_since_last_time(self, run: Run) -> None:
        write_npy("day/a.npy")
        assert run("compress", "-r", "day", "-o", "packed", "--skip-existing").code == 0
        write_npy("day/b.npy", seed=1)
        outcome = run("compress", "-r", "day", "-o", "packed", "--skip-existing")
        assert outcome.code == 0
        assert "b.npy.lnn" in outcome.out
        assert "a.npy.lnn" not in outcome.out
        assert "1 file passed over" in outcome.out
        assert run("compress", "-r", "day", "-o", "packed", "--skip-existing", "-q") == Outcome(0, "", "")
        os.utime("day/a.npy", (2e9, 2e9))
        outcome = run("compress", "-r", "day", "-o", "packed", "--skip-existing")
        assert outcome.code == 0
        assert "2 files passed over" in outcome.out, "another time alone is no change"

    @pytest.mark.parametrize("times", [(3e8, 3e8), (2e9, 2e9), None], ids=["older", "newer", "as old"])
    @pytest.mark.parametrize("other", [{"samples": 4000}, {"seed": 7}], ids=["longer", "of the same length"])
    def test_a_file_that_took_the_place_of_another_is_not_passed_over(
        self, other: dict[str, int], times: tuple[float, float] | None, run: Run
    ) -> None:
        write_npy()
        run("compress", "x.npy")
        before = os.stat("x.npy")
        content = write_npy(**other)
        os.utime("x.npy", times or (before.st_atime, before.st_mtime))
        outcome = run("compress", "x.npy", "--skip-existing", "--rm")
        assert Path("x.npy").exists()
        if times is None and "seed" in other:
            assert "1 file passed over" in outcome.out, "times and lengths agree: nothing is read"
            return
        assert outcome.code == 1
        newer = times == (2e9, 2e9) and "seed" in other
        why = "x.npy has changed since" if newer else "is "
        assert f"x.npy.lnn exists already, but {why}" in outcome.err
        assert run("compress", "x.npy", "--skip-existing", "-f").code == 0
        assert run("decompress", "x.npy.lnn", "-f").code == 0
        assert Path("x.npy").read_bytes() == content

    def test_a_newer_file_whose_values_were_moved_cannot_be_compared(self, run: Run) -> None:
        write_npy()
        again = ("compress", "x.npy", "--max-error", "2", "--skip-existing")
        run(*again)
        os.utime("x.npy", (2e9, 2e9))
        assert "x.npy.lnn exists already, but x.npy is newer" in run(*again).err

    def test_a_newer_file_that_cannot_be_read_does_not_stop_the_others(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy("a.npy")
        run("compress", "a.npy")
        os.utime("a.npy", (2e9, 2e9))
        write_npy("b.npy")
        unreadable = OSError(errno.EIO, os.strerror(errno.EIO), "a.npy")
        monkeypatch.setattr("losslessnn.archives.verifying.file_checksum", lambda path: refuse(unreadable))
        outcome = run("compress", "a.npy", "b.npy", "--skip-existing")
        assert outcome.code == 1
        assert "but a.npy cannot be read (Input/output error)" in outcome.err
        assert "b.npy -> b.npy.lnn" in outcome.out

    def test_archives_that_were_copied_are_newer_than_their_files(self, run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        os.utime("x.npy.lnn", (2e9, 2e9))
        assert "1 file passed over" in run("compress", "x.npy", "--skip-existing").out

    @pytest.mark.parametrize(("there", "asked"), [("5", "0"), ("5", "2")], ids=["exactness", "a lower bound"])
    def test_values_that_were_moved_do_not_pass_where_others_are_asked_for(
        self, there: str, asked: str, run: Run
    ) -> None:
        write_npy("a.npy")
        write_npy("b.npy")
        run("compress", "a.npy", "--max-error", there)
        outcome = run("compress", "a.npy", "b.npy", "--max-error", asked, "--skip-existing")
        assert outcome.code == 1
        assert "a.npy.lnn exists already, but holds values that were moved, by at most 5" in outcome.err
        assert "-f overwrites it" in outcome.err
        assert "b.npy -> b.npy.lnn" in outcome.out
        assert run("compress", "a.npy", "--max-error", asked, "--skip-existing", "-f").code == 0
        assert "1 file passed over" in run("compress", "a.npy", "--max-error", asked, "--skip-existing").out

    def test_values_that_were_moved_less_than_they_may_be_pass(self, run: Run) -> None:
        write_npy()
        for bound in ("0", "2", "2"):
            outcome = run("compress", "x.npy", "--max-error", bound, "--skip-existing")
            assert outcome.code == 0
        assert "1 file passed over" in outcome.out

    def test_an_archive_that_is_cut_short_does_not_pass(self, run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        os.truncate("x.npy.lnn", 2000)
        os.utime("x.npy.lnn", (2e9, 2e9))
        assert "exists already, but is damaged" in run("compress", "x.npy", "--skip-existing").err

    def test_arrays_for_numpy(self, run: Run) -> None:
        make_recording(3000, 4).tofile("x.dat")
        run("compress", "x.dat", "-n", "4")
        assert run("decompress", "x.dat.lnn", "--arrays").code == 0
        assert np.array_equal(np.load("x.dat.npy"), make_recording(3000, 4))

    def test_levels(self, run: Run) -> None:
        write_npy()
        for level in (1, 9):
            assert run("compress", "x.npy", "-l", level, "-f").code == 0


class TestRefusals:
    def one_line(self, outcome: Outcome) -> str:
        assert outcome.code == 1
        (line,) = outcome.err.splitlines()
        assert line.startswith("losslessnn: ")
        return line

    def test_no_overwriting_without_force(self, run: Run) -> None:
        write_npy()
        Path("x.npy.lnn").write_bytes(b"precious")
        assert "-f overwrites it" in self.one_line(run("compress", "x.npy"))
        assert Path("x.npy.lnn").read_bytes() == b"precious"
        assert run("compress", "x.npy", "-f").code == 0
        assert "-f overwrites it" in self.one_line(run("decompress", "x.npy.lnn"))
        assert run("decompress", "x.npy.lnn", "-f").code == 0

    def test_files_that_would_become_one_are_refused_before_work_starts(self, run: Run) -> None:
        write_npy("a/x.npy")
        write_npy("b/x.npy")
        outcome = run("compress", "a/x.npy", "b/x.npy", "-o", "packed")
        assert outcome.code == 2
        assert "would both become packed/x.npy.lnn" in outcome.err
        assert not Path("packed").exists()
        run("compress", "a/x.npy")
        run("compress", "b/x.npy")
        outcome = run("decompress", "a/x.npy.lnn", "b/x.npy.lnn", "-o", "back")
        assert outcome.code == 2
        assert not Path("back").exists()

    def test_several_files_cannot_become_one(self, run: Run) -> None:
        assert run("compress", "a.npy", "b.npy", "-o", "c.lnn").code == 2

    def test_files_that_are_not_there_or_not_files(self, run: Run) -> None:
        Path("folder").mkdir()
        missing = r"No such file|cannot find|not found"  # the last two by Windows and Wine
        assert re.search(missing, self.one_line(run("compress", "x.npy")))
        assert "is a folder" in self.one_line(run("compress", "folder"))
        assert "is a folder" in self.one_line(run("compress", "."))
        assert re.search(missing, self.one_line(run("decompress", "x.lnn")))

    def test_folders_with_nothing_in_them(self, run: Run) -> None:
        Path("empty").mkdir()
        assert "nothing to do" in run("compress", "-r", "empty").err
        assert run("verify", "-r", "empty").code == 1

    @posix
    def test_folders_that_cannot_be_read_are_not_left_out_in_silence(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy("day/x.npy")
        assert run("compress", "-r", "day").code == 0
        Path("day/locked").mkdir()
        scandir = os.scandir

        def locked(path: str) -> Any:  # for root, too
            if os.path.basename(path) == "locked":
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", locked)
        for command in (["compress"], ["decompress"], ["verify"], ["inspect"]):
            outcome = run(*command, "-r", "day", *["-f"] * (command[0].endswith("compress")))
            assert self.one_line(outcome) == "losslessnn: day/locked: Permission denied"
            assert "x.npy" in outcome.out, "the rest is done"

    @posix
    def test_what_would_wait_for_ever(self, run: Run) -> None:
        os.mkfifo("pipe.npy")
        for command in ("compress", "decompress", "verify", "inspect"):
            assert "not a regular file" in self.one_line(run(command, "pipe.npy"))

    def test_output_in_the_place_of_a_file(self, run: Run) -> None:
        write_npy()
        outcome = run("compress", "x.npy", "-o", "x.npy")
        assert outcome.code == 2
        assert "-o x.npy is a file" in outcome.err

    @posix
    def test_a_full_disk_is_named(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(9000, 8))
        limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); "
        program = [sys.executable, "-c", limit + PROGRAM[-1]]
        call = [*program, "compress", "x.npy", "-o", "packed"]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("losslessnn: packed/x.npy.lnn: File too large")
        assert list((tmp_path / "packed").iterdir()) == []
        content = (tmp_path / "x.npy").read_bytes()
        piped = subprocess.run(
            [*program, "compress", "-"], input=content, cwd=tmp_path, capture_output=True, env=os.environ
        )
        assert piped.returncode == 1
        assert b"TMPDIR" in piped.stderr

    def test_unknown_files_say_what_to_do(self, run: Run) -> None:
        Path("notes.txt").write_text("hello")
        Path("x.bin").write_bytes(bytes(10))
        assert "--as-bytes" in self.one_line(run("compress", "notes.txt"))
        assert "-n CHANNELS" in self.one_line(run("compress", "x.bin"))
        assert run("compress", "notes.txt", "--as-bytes").code == 0

    def test_what_is_no_archive(self, run: Run) -> None:
        Path("x.lnn").write_bytes(b"not at all")
        for command in ("decompress", "verify", "inspect"):
            assert "not a losslessnn archive" in self.one_line(run(command, "x.lnn"))

    @posix
    @pytest.mark.parametrize("command", ["compress", "decompress"])
    def test_what_was_written_since_it_was_read_is_not_removed(
        self, command: str, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy()
        source = "x.npy"
        if command == "decompress":
            run("compress", "x.npy", "--rm")
            source = "x.npy.lnn"
        publish = NewFile.publish

        def publish_then_write(new: NewFile, like: Any = None) -> None:
            publish(new, like)
            Path("new").write_bytes(b"precious")
            os.replace("new", source)

        monkeypatch.setattr(NewFile, "publish", publish_then_write)
        line = self.one_line(run(command, source, "--rm"))
        assert line == f"losslessnn: {source}: has changed since it was read; it was not removed"
        assert Path(source).read_bytes() == b"precious"

    @pytest.mark.parametrize("source", ["x.lnn", "here/x.lnn", "link.lnn"])
    @posix
    def test_what_is_read_is_not_overwritten(self, source: str, run: Run) -> None:
        os.symlink(".", "here")
        recording = make_recording(3000, 4)
        recording.tofile("x.lnn")
        os.symlink("x.lnn", "link.lnn")
        outcome = run("compress", "-n", "4", source, "-f", "-o", "x.lnn")
        assert "x.lnn is what is read: the output must be another file" in self.one_line(outcome)
        assert Path("x.lnn").read_bytes() == recording.tobytes()

    @posix
    def test_another_name_of_what_is_read_may_be_overwritten(self, run: Run) -> None:
        original = write_npy()
        os.link("x.npy", "hard.lnn")
        assert run("compress", "x.npy", "-f", "-o", "hard.lnn").code == 0
        assert Path("x.npy").read_bytes() == original
        assert run("verify", "hard.lnn", "--against", "x.npy").code == 0

    def test_an_empty_archive_is_said_to_be_empty(self, run: Run) -> None:
        Path("x.lnn").write_bytes(b"")
        for command in ("decompress", "verify", "inspect"):
            assert "x.lnn: empty (an unfinished copy?)" in self.one_line(run(command, "x.lnn"))

    @posix
    def test_names_that_no_terminal_shows_stay_in_one_line(self, run: Run) -> None:
        for name in ("two\nlines.npy", os.fsdecode(b"\xff.npy"), "bell\a.npy"):
            write_npy(name)
            shown = name.replace("\n", "\\n").replace("\udcff", "\\xff").replace("\a", "\\x07")
            outcome = run("compress", name)
            assert outcome.code == 0
            assert outcome.out.startswith(f"{shown} -> {shown}.lnn  ")
            assert self.one_line(run("compress", name)).startswith(f"losslessnn: {shown}.lnn exists already")
            lines = run("inspect", f"{name}.lnn").out.splitlines()
            assert lines[0] == f"{shown}.lnn"
            assert lines[1].startswith(f"  original   {shown} (npy)")

    @pytest.mark.parametrize(("encoding", "shown"), [("ascii", r"\xe9\u65e5"), ("latin-1", r"é\u65e5")])
    def test_names_that_a_stream_cannot_encode_stop_nothing(
        self, encoding: str, shown: str, tmp_path: Path
    ) -> None:
        for name in ("a", "é日", "z"):
            (tmp_path / "day").mkdir(exist_ok=True)
            (tmp_path / "day" / f"{name}.txt").write_text(name, encoding="utf-8")
        calls = (
            ["compress", "-r", "--all", "day", "-o", "packed"],
            ["verify", "-r", "packed"],
            ["inspect", "-r", "packed"],
            ["decompress", "-r", "packed", "-o", "back"],
        )
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        said = b""
        for call in calls:
            done = subprocess.run([*PROGRAM, *call], cwd=tmp_path, env=environment, capture_output=True)
            assert (done.returncode, done.stderr) == (0, b"")
            said += done.stdout
        line = f"day{os.sep}{shown}.txt -> packed{os.sep}{shown}.txt.lnn"
        assert line.encode("latin-1") in said
        assert sorted(path.stem for path in (tmp_path / "back").iterdir()) == ["a", "z", "é日"]

    def test_members_of_an_archive_do_not_steer_the_terminal(self, run: Run) -> None:
        np.savez("x.npz", **{"\x1b[2J": make_recording(3000, 4)})
        run("compress", "x.npz")
        assert run("inspect", "x.npz.lnn").out.replace("\n", "").isprintable()

    @pytest.mark.parametrize(
        "command", [["fit", "--quick", "-o", "x.profile"], ["bench", "--only", "gzip -6"], ["advise"]]
    )
    def test_what_measures_or_fits_notes_what_a_file_looks_like_too(
        self, command: list[str], run: Run
    ) -> None:
        make_recording(15_000, 6).tofile("x.dat")
        assert (
            "it looks like 6 channels of int16, not of float32"
            in run(*command, "x.dat", "-n", "6", "-d", "float32").err
        )

    def test_another_number_of_channels_that_fits_far_better_is_noted(self, run: Run) -> None:
        shared = np.cumsum(np.random.default_rng(0).normal(size=(4000, 1)) * 300, axis=0)
        (shared + np.arange(6) * 4000 + make_recording(4000, 6)).astype("<i2").tofile("x.dat")
        note = "note: it looks like 6 channels, not 4: -n 6 may make it smaller"
        assert note in run("compress", "x.dat", "-n", "4").out
        assert "looks like" not in run("compress", "x.dat", "-n", "6", "-f").out

    def test_another_number_of_channels_that_makes_nothing_smaller_is_not_noted(self, run: Run) -> None:
        """Two time steps in a row: values are nearer to those of the one before, and yet as predictable."""
        smooth = np.sin(np.arange(8000)[:, None] / 9 + np.arange(3)) * 3000
        (smooth + np.random.default_rng(0).normal(size=(8000, 3)) * 20).astype("<i2").tofile("x.dat")
        assert "looks like" not in run("compress", "x.dat", "-n", "6").out

    @posix
    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
    @pytest.mark.parametrize("command", ["compress", "decompress"])
    def test_full_standard_output_is_not_taken_for_the_temporary_folder(self, run: Run, command: str) -> None:
        write_npy()
        run("compress", "x.npy")
        given = {"compress": "x.npy", "decompress": "x.npy.lnn"}[command]
        with open("/dev/full", "wb") as full:
            done = subprocess.run([*PROGRAM, command, given, "-o", "-"], stdout=full, stderr=subprocess.PIPE)
        assert done.returncode == 1
        assert done.stderr.startswith(b"losslessnn: standard output: No space left on device")

    def test_what_is_piped_is_called_standard_input(self, tmp_path: Path) -> None:
        for command in ("compress", "decompress", "verify", "inspect"):
            done = subprocess.run([*PROGRAM, command, "-"], input=b"hello", capture_output=True, cwd=tmp_path)
            assert done.returncode == 1
            assert done.stderr.startswith(b"losslessnn: standard input: not a")
        write_npy(str(tmp_path / "x.npy"))
        pack = [*PROGRAM, "compress", "x.npy", "-o", "-"]
        packed = subprocess.run(pack, capture_output=True, cwd=tmp_path, check=True).stdout
        for command in ("verify", "inspect"):
            done = subprocess.run([*PROGRAM, command, "-"], input=packed, capture_output=True, cwd=tmp_path)
            assert done.stdout.startswith(b"standard input"), done

    def test_targets_that_cannot_be_made_are_named_as_they_were_given(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy()
        run("compress", "x.npy")

        def refuse(**_: object) -> None:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/somewhere/.x.npy.lnn.abcd.partial")

        monkeypatch.setattr("losslessnn.newfile.tempfile.mkstemp", refuse)
        for arguments in (("compress", "x.npy", "-f"), ("decompress", "x.npy.lnn", "-f")):
            said = self.one_line(run(*arguments))
            assert "partial" not in said
            assert "Read-only file system; -o names another place" in said

    def test_a_file_is_no_folder_to_restore_into(self, run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        Path("notes.txt").write_text("hello")
        outcome = run("decompress", "x.npy.lnn", "-o", "notes.txt")
        assert outcome.code == 2
        assert "-o notes.txt is a file, and no folder" in outcome.err
        assert Path("notes.txt").read_text() == "hello"

    def test_a_device_that_does_not_exist_is_the_environments_fault(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy()
        monkeypatch.setenv("LOSSLESSNN_DEVICE", "gpu")
        outcome = run("compress", "x.npy")
        assert outcome.code == 2
        assert "LOSSLESSNN_DEVICE must be one of auto, cpu, cuda, and is 'gpu'" in outcome.err

    def test_a_profile_that_cannot_be_written_is_named(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy()

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr("losslessnn.newfile.os.fsync", refuse)
        outcome = run("fit", "x.npy", "--quick", "-o", "p.profile")
        assert outcome.code == 1
        assert "losslessnn: p.profile: No space left on device; nothing was left there" in outcome.err
        assert os.listdir() == ["x.npy"]

    def test_one_bad_file_does_not_stop_the_others(self, run: Run) -> None:
        write_npy("a.npy")
        write_npy("c.npy")
        outcome = run("compress", "a.npy", "b.npy", "c.npy")
        assert outcome.code == 1
        assert outcome.err.count("losslessnn: b.npy: ") == 1
        assert "2 files: " in outcome.out
        assert "1 failed" in outcome.out
        assert Path("a.npy.lnn").exists()
        assert Path("c.npy.lnn").exists()
        Path("b.npy.lnn").write_bytes(b"junk")
        assert run("verify", "a.npy.lnn", "b.npy.lnn", "c.npy.lnn").code == 1
        outcome = run("decompress", "a.npy.lnn", "b.npy.lnn", "c.npy.lnn", "-o", "back")
        assert outcome.code == 1
        assert sorted(path.name for path in Path("back").iterdir()) == ["a.npy", "c.npy"]

    def test_names_cannot_lead_out_of_the_folder(self, run: Run) -> None:
        Path("in").mkdir()
        for name in ("../evil", "/tmp/evil", ".."):
            header = pack_header(ArchiveHeader((Literal(b"evil"),), Source.BYTES, name))
            Path("in/x.lnn").write_bytes(header + pack_index([], 0))
            assert "lead elsewhere" in self.one_line(run("decompress", "in/x.lnn", "-o", "in/out"))
        assert sorted(path.name for path in Path().rglob("*")) == ["in", "x.lnn"]

    def test_seconds_without_a_rate_are_noted(self, run: Run) -> None:
        make_recording(500, 4).tofile("x.dat")
        outcome = run("compress", "x.dat", "-n", "4", "--chunk-seconds", "1")
        assert outcome.code == 0
        assert "note: seconds per frame mean nothing without a sampling rate (-s)" in outcome.out

    def test_a_frame_is_no_archive_and_an_archive_no_frame(self, run: Run) -> None:
        Path("x.lnn").write_bytes(compress(make_recording(500, 4)))
        assert "but a frame: losslessnn.decompress" in self.one_line(run("decompress", "x.lnn"))
        write_npy()
        run("compress", "x.npy")
        with pytest.raises(CorruptFrameError, match="open_archive reads"):
            decompress(Path("x.npy.lnn").read_bytes())

    def test_files_that_cannot_be_read_do_not_stop_the_others(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy("x.npy")
        write_npy("locked.npy")
        allowed = os.access
        monkeypatch.setattr(
            os, "access", lambda path, mode, **how: "locked" not in str(path) and allowed(path, mode, **how)
        )
        Path("locked.npy").write_bytes(b"")  # tests may run as root, who reads everything
        run("compress", "locked.npy", "x.npy")
        assert Path("x.npy.lnn").exists()

    def test_a_source_that_cannot_be_removed_is_said_to_be_there(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write_npy()
        refused = OSError(errno.EACCES, os.strerror(errno.EACCES), "x.npy")
        monkeypatch.setattr(Path, "unlink", lambda path: refuse(refused))
        assert self.one_line(run("compress", "x.npy", "--rm")).endswith(
            "Permission denied; it was not removed"
        )
        assert self.one_line(run("decompress", "x.npy.lnn", "-f", "--rm")).endswith("it was not removed")

    @pytest.mark.parametrize(
        "call",
        [
            ["compress", "x.npy", "-o", ""],
            ["compress", "-r", ""],
            ["decompress", "x.npy.lnn", "-f", "-o", ""],
            ["verify", "x.npy.lnn", "--against", ""],
            ["fit", "x.npy", "-o", ""],
            ["bench", "x.npy", "-o", ""],
            ["demo", "-o", ""],
            ["repack", "x.h5", "-o", ""],
            ["models", "export", "x", ""],
        ],
        ids=lambda call: call[0],
    )
    def test_an_empty_name_is_not_this_folder(self, call: list[str], run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        outcome = run(*call)
        assert (outcome.code, outcome.out) == (2, "")
        assert "the name is empty (a variable that is not set?); . names this folder" in outcome.err
        assert sorted(os.listdir()) == ["x.npy", "x.npy.lnn"]

    def test_a_name_that_looks_like_an_option_can_be_written_otherwise(self, run: Run) -> None:
        content = write_npy("-n.npy")
        outcome = run("compress", "-n.npy")
        assert outcome.code == 2
        assert "-n.npy is a file, too: ./-n.npy names it" in outcome.err
        assert run("compress", "./-n.npy", "-o", "packed").code == 0
        assert run("decompress", "packed/-n.npy.lnn", "-o", "back").code == 0
        assert Path("back/-n.npy").read_bytes() == content

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (["--checkpoint", "x.state"], "--checkpoint: for torch alone"),
            (["--seed", "1"], "--seed: for torch alone"),
            (["--device", "cuda"], "--device: for torch alone"),
            (["--quick", "--hidden", "8", "--shown", "1"], "--hidden, --shown: with --quick no network"),
            (["--quick", "--trainer", "torch"], "--trainer: with --quick no network"),
            (["--quick", "--family", "latent-factor", "--checkpoint", "x"], "--checkpoint: with --quick no"),
        ],
    )
    def test_fit_ignores_nothing_that_it_was_told(self, options: list[str], why: str, run: Run) -> None:
        write_npy()
        outcome = run("fit", "x.npy", "-o", "x.profile", *options)
        assert outcome.code == 2
        assert why in outcome.err
        assert not Path("x.profile").exists()

    def test_standard_input_stands_alone(self, run: Run) -> None:
        write_npy()
        assert run("compress", "-", "x.npy").code == 2
        assert run("decompress", "-", "x.npy.lnn").code == 2
        assert run("compress", "x.npy", "y.npy", "-o", "-").code == 2
        assert run("compress", "x.npy", "-o", "-", "--rm").code == 2
        assert run("verify", "-", "x.npy.lnn").code == 2


class TestCompanions:
    """What describes samples lies beside them, and in their archive."""

    META = "imSampRate=30000\nnSavedChans=4\n"

    @pytest.fixture
    def meta(self, run: Run) -> Path:
        """Of ``rec/run.bin``, which is archived in ``packed``."""
        Path("rec").mkdir()
        make_recording(3000, 4).tofile("rec/run.bin")
        Path("rec/run.meta").write_text(self.META)
        assert run("compress", "rec/run.bin", "-o", "packed").code == 0
        return Path("rec/run.meta")

    def test_one_that_has_changed_since_does_not_pass(self, run: Run, meta: Path) -> None:
        again = ("compress", "rec/run.bin", "-o", "packed", "--skip-existing")
        assert "1 file passed over" in run(*again).out
        meta.write_text(self.META.replace("30000", "25000"))
        outcome = run(*again)
        assert outcome.code == 1
        assert "run.bin.lnn exists already, but does not hold rec/run.meta as it is now; -f" in outcome.err
        assert run(*again, "-f").code == 0
        assert "1 file passed over" in run(*again).out

    def test_verify_compares_them(self, run: Run, meta: Path) -> None:
        against = ("verify", "-r", "packed", "--against", "rec")
        assert "note" not in run(*against).out
        meta.write_text(self.META.replace("30000", "25000"))
        outcome = run(*against)
        assert outcome.code == 1
        assert "the same as rec/run.bin, but holds another run.meta than rec/run.meta\n" in outcome.err
        assert run("verify", "-r", "packed").code == 0, "the archive itself is intact"

    def test_one_that_is_gone_is_in_the_archive_still(self, run: Run, meta: Path) -> None:
        meta.unlink()
        assert run("compress", "rec/run.bin", "-o", "packed", "--skip-existing").code == 0
        outcome = run("verify", "-r", "packed", "--against", "rec")
        assert outcome.code == 0
        assert "note: there is no rec/run.meta" in outcome.out

    @pytest.mark.parametrize("again", [[], ["-f"], ["--skip-existing"]])
    def test_those_in_archives_are_not_left_alone(self, again: list[str], run: Run, meta: Path) -> None:
        Path("rec/other.meta").write_text("of nothing that is here")
        outcome = run("compress", "-r", "rec", "-o", "packed" if again else "new", *again)
        assert outcome.code == 0
        assert "1 other file left alone: .meta\n" in outcome.out
        assert ("note: run.meta is in the archive, too\n" in outcome.out) == (again != ["--skip-existing"])

    def test_those_of_files_that_failed_are_left_alone(self, run: Run, meta: Path) -> None:
        outcome = run("compress", "-r", "rec", "-o", "packed")
        assert outcome.code == 1
        assert "1 other file left alone: .meta" in outcome.out

    def test_those_of_files_that_are_removed_stay(self, run: Run, meta: Path) -> None:
        outcome = run("compress", "-r", "rec", "-o", "packed", "-f", "--rm")
        assert "note: run.meta is in the archive, too; it was not removed\n" in outcome.out
        assert list(Path("rec").iterdir()) == [meta]

    def test_those_that_have_archives_of_their_own_are_removed(self, run: Run, meta: Path) -> None:
        outcome = run("compress", "-r", "--all", "rec", "-o", "packed", "-f", "--rm")
        assert "note: run.meta is in the archive, too\n" in outcome.out
        assert list(Path("rec").iterdir()) == []

    def test_another_one_stays_where_nobody_said_f_and_so_does_the_archive(
        self, run: Run, meta: Path
    ) -> None:
        meta.write_text("edited")
        Path("rec/run.bin").unlink()
        outcome = run("decompress", "packed/run.bin.lnn", "-o", "rec", "--rm")
        assert outcome.code == 1
        assert "run.meta, which the archive holds, too, was not restored: rec/run.meta exists" in outcome.err
        assert "-f overwrites it" in outcome.err
        assert Path("rec/run.bin").exists()
        assert meta.read_text() == "edited"
        assert Path("packed/run.bin.lnn").exists()

    def test_another_one_is_overwritten_with_f(self, run: Run, meta: Path) -> None:
        meta.write_text("edited")
        outcome = run("decompress", "packed/run.bin.lnn", "-o", "rec", "-f", "--rm")
        assert outcome.code == 0
        assert "run.meta restored too, in the place of another" in outcome.out
        assert meta.read_text() == self.META
        assert not Path("packed/run.bin.lnn").exists()


class TestSourcesAreKept:
    def test_unless_removal_is_asked_for(self, run: Run) -> None:
        original = write_npy()
        run("compress", "x.npy")
        assert Path("x.npy").exists()
        assert run("compress", "x.npy", "-f", "--rm").code == 0
        assert not Path("x.npy").exists()
        assert run("decompress", "x.npy.lnn", "--rm").code == 0
        assert Path("x.npy").read_bytes() == original
        assert not Path("x.npy.lnn").exists()

    @posix
    def test_of_a_link_the_file_it_leads_to_stays(self, run: Run) -> None:
        write_npy()
        Path("link.npy").symlink_to("x.npy")
        assert "x.npy is still there" in run("compress", "link.npy", "--rm").out
        assert not Path("link.npy").exists()
        assert Path("x.npy").exists()

    def test_and_only_after_verification(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        write_npy()
        monkeypatch.setattr("losslessnn.archives.writing.same_array", lambda a, b: False)
        outcome = run("compress", "x.npy", "--rm")
        assert outcome.code == 1
        assert "does not decode to its source" in outcome.err
        assert [path.name for path in Path().iterdir()] == ["x.npy"]

    def test_never_with_recover(self, run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        assert run("decompress", "x.npy.lnn", "--recover", "--rm", "-f").code == 2


class TestDamage:
    def test_a_damaged_frame_says_that_the_rest_can_be_saved(self, run: Run) -> None:
        write_npy()
        run("compress", "x.npy")
        damaged = bytearray(Path("x.npy.lnn").read_bytes())
        damaged[len(damaged) // 2] ^= 1
        Path("x.npy.lnn").write_bytes(damaged)
        outcome = run("decompress", "x.npy.lnn", "-o", "back")
        assert outcome.code == 1
        assert "nothing was restored, --recover saves the rest" in outcome.err
        assert not list(Path("back").glob("*"))

    def test_a_cut_archive(self, run: Run) -> None:
        original = write_npy(samples=20_000)
        run("compress", "x.npy", "--chunk-mb", "0.016")
        content = Path("x.npy.lnn").read_bytes()
        Path("x.npy.lnn").write_bytes(content[: len(content) // 2])
        outcome = run("decompress", "x.npy.lnn", "-o", "back")
        assert outcome.code == 1
        assert "--recover" in outcome.err
        outcome = run("decompress", "x.npy.lnn", "-o", "back", "--recover")
        assert outcome.code == 1
        assert "of 10 frames" in outcome.err
        recovered = Path("back/x.npy").read_bytes()
        assert original.startswith(recovered)
        assert len(recovered) > len(original) // 3
        outcome = run("inspect", "x.npy.lnn")
        assert outcome.code == 1
        assert "DAMAGED" in outcome.out
        assert "ratio" not in outcome.out
        assert "unreadable rest" in outcome.out
        cut, whole = json.loads(run("inspect", "x.npy.lnn", "--json").out), len(content)
        Path("x.npy.lnn").write_bytes(content)
        assert cut["ratio"] is None
        assert cut["archive_bytes"] == whole // 2
        usual = json.loads(run("inspect", "x.npy.lnn", "--json").out)["arrays"][0]["bits_per_value"]
        assert cut["arrays"][0]["bits_per_value"] == pytest.approx(usual, rel=0.1)

    def test_an_inserted_byte_costs_one_frame(self, run: Run) -> None:
        original = bytearray(write_npy(samples=20_000))
        run("compress", "x.npy", "--chunk-mb", "0.016")
        content = Path("x.npy.lnn").read_bytes()
        Path("x.npy.lnn").write_bytes(content[: len(content) // 2] + b"\r" + content[len(content) // 2 :])
        for call in (["verify", "x.npy.lnn"], ["decompress", "x.npy.lnn", "-o", "back"]):
            outcome = run(*call)
            assert outcome.code == 1
            assert "the archive has 1 byte too many" in outcome.err
            assert "--recover` saves every frame that is whole" in outcome.err
        outcome = run("decompress", "x.npy.lnn", "-o", "back", "--recover")
        assert outcome.code == 1
        assert "9 of 10 frames could be found all the same" in outcome.err
        assert "ends early" not in outcome.err
        back = Path("back/x.npy").read_bytes()
        lost = next(at for at in range(128, len(back), 16_000) if not any(back[at : at + 16_000]))
        original[lost : lost + 16_000] = bytes(16_000)
        assert back == original
        outcome = run("inspect", "x.npy.lnn", "--frames")
        assert outcome.code == 1
        assert "DAMAGED    1 byte too many; 9 of 10 frames are there" in outcome.out
        assert "    10  18000 to 20000" in outcome.out
        assert json.loads(run("inspect", "x.npy.lnn", "--json").out)["surplus_bytes"] == 1

    def test_inspect_names_a_damaged_frame(self, run: Run) -> None:
        write_npy(samples=9000)
        run("compress", "x.npy", "--chunk-mb", "0.024")
        content = bytearray(Path("x.npy.lnn").read_bytes())
        content[len(content) // 2] ^= 1
        Path("x.npy.lnn").write_bytes(content)
        assert "x.npy.lnn: frame 2 of 3 (time steps 3000 to 6000)" in run("inspect", "x.npy.lnn").err

    def test_a_lost_index_alone_loses_nothing(self, run: Run) -> None:
        original = write_npy()
        run("compress", "x.npy")
        Path("x.npy.lnn").write_bytes(Path("x.npy.lnn").read_bytes()[:-5])
        outcome = run("decompress", "x.npy.lnn", "-o", "back", "--recover")
        assert outcome.code == 0
        assert "the file is complete" in outcome.out
        assert Path("back/x.npy").read_bytes() == original

    def test_verify_against(self, run: Run) -> None:
        write_npy("x.npy")
        write_npy("y.npy", seed=1)
        run("compress", "x.npy")
        assert run("verify", "x.npy.lnn", "--against", "x.npy").code == 0
        outcome = run("verify", "x.npy.lnn", "--against", "y.npy")
        assert outcome.code == 1
        assert "differs from y.npy from byte 128 on" in outcome.err
        assert run("verify", "x.npy.lnn", "x.npy.lnn", "--against", "y.npy").code == 2


class TestTalk:
    def test_quiet_says_nothing(self, run: Run) -> None:
        write_npy()
        assert run("compress", "x.npy", "-q") == Outcome(0, "", "")
        assert run("decompress", "x.npy.lnn", "-q", "-f") == Outcome(0, "", "")
        assert run("verify", "x.npy.lnn", "-q") == Outcome(0, "", "")

    def test_a_progress_bar_on_standard_error_if_asked_for(self, run: Run) -> None:
        write_npy()
        outcome = run("compress", "x.npy", "--progress")
        assert "B/s" in outcome.err
        assert "B/s" not in outcome.out.replace("MB/s", "")
        assert "x.npy -> x.npy.lnn" in outcome.out

    def test_of_what_took_no_time_no_speed_is_told(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Stopwatch, "seconds", 0.0)
        write_npy("x.npy")
        write_npy("y.npy")
        packed = run("compress", "x.npy", "y.npy").out
        said = packed + run("verify", "x.npy.lnn", "y.npy.lnn").out
        said += run("decompress", "x.npy.lnn", "y.npy.lnn", "-o", "back").out
        assert len(said.splitlines()) == 9
        assert "MB/s" not in said
        assert re.search(r"ratio \d\.\d{3}  verified\n", packed)
        assert re.search(r"ratio \d\.\d{4}, verified\n", packed)

    def test_inspect_shows_where_the_bytes_go(self, run: Run) -> None:
        write_npy(samples=9000)
        run("compress", "x.npy", "--chunk-mb", "0.024")
        outcome = run("inspect", "x.npy.lnn", "--frames", "--channels")
        assert outcome.code == 0
        for words in (
            "x.npy (npy)",
            "9000 time steps of 4 channels",
            "frames     3",
            "archive header",
            "index",
        ):
            assert words in outcome.out

    def test_inspect_adds_up_in_json(self, run: Run) -> None:
        write_npy()
        np.savez("y.npz", a=make_recording(3000, 2), b=make_recording(2000, 3))
        run("compress", "x.npy", "y.npz")
        lines = run("inspect", "x.npy.lnn", "y.npz.lnn", "--json").out.splitlines()
        for line in lines:
            facts = json.loads(line)
            assert facts["crc32c"] == f"{google_crc32c.value(Path(facts['name']).read_bytes()):08x}"
            total = facts["header_bytes"] + facts["index_bytes"]
            for array in facts["arrays"]:
                assert sum(array["sections"].values()) == array["frame_bytes"]
                total += array["frame_bytes"]
            assert total == facts["archive_bytes"] == Path(facts["archive"]).stat().st_size
        assert [array["name"] for array in json.loads(lines[1])["arrays"]] == ["a", "b"]


@posix
class TestInterruption:
    @pytest.fixture(autouse=True)
    def as_in_a_terminal(self) -> Iterator[None]:
        """Children inherit what is ignored: in the background, or under nohup, signals like these."""
        before = {
            number: signal.signal(number, handler)
            for number, handler in [
                (signal.SIGINT, signal.default_int_handler),
                *((number, signal.SIG_DFL) for number in TERMINATING),
            ]
        }
        yield
        for number, handler in before.items():
            signal.signal(number, handler)

    def begin(self, folder: Path, *arguments: str, until: int = 1000) -> subprocess.Popen[bytes]:
        """Compress on three threads, until so many bytes are in a file that is not whole yet."""
        process = subprocess.Popen(
            [*PROGRAM, "compress", *arguments, "-T", "3"], cwd=folder, stderr=subprocess.PIPE
        )
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if any(file_size(path) > until for path in folder.glob(".*.partial")):
                break
            time.sleep(0.02)
        assert process.poll() is None, "finished before it could be interrupted"
        return process

    @pytest.mark.parametrize(
        ("name", "code"),
        [
            ("SIGTERM", 143),
            pytest.param("SIGINT", 130, marks=pytest.mark.slow),
            pytest.param("SIGHUP", 129, marks=pytest.mark.slow),
        ],
    )
    def test_leaves_no_half_file(self, name: str, code: int, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(1000, 8).repeat(4000, axis=0))
        process = self.begin(tmp_path, "x.npy", "--chunk-mb", "1")
        process.send_signal(getattr(signal, name))
        _, said = process.communicate(timeout=60)
        assert process.returncode == code
        assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
        assert b"Traceback" not in said

    def test_does_not_wait_for_frames_under_way(self, tmp_path: Path) -> None:
        names = [f"{letter}.npy" for letter in "abc"]
        for seed, name in enumerate(names):
            np.save(tmp_path / name, make_recording(150_000, 8, seed=seed))
        started = time.monotonic()
        process = self.begin(tmp_path, *names, "-l", "9", until=-1)  # side by side; each takes many seconds
        until_begun = time.monotonic() - started
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)  # from an impatient owner
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - started < until_begun + 2
        assert process.returncode == 130
        assert sorted(path.name for path in tmp_path.iterdir()) == names
        assert b"Traceback" not in said

    def test_is_not_heard_where_nohup_said_so(self, tmp_path: Path) -> None:
        check = (
            "import signal, sys; from losslessnn.cli import main\n"
            "signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "try: main(['--version'])\n"
            "except SystemExit: print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)"
        )
        said = subprocess.run(
            [sys.executable, "-c", check], capture_output=True, text=True, check=True
        ).stdout
        assert said.endswith("True\n")

    def test_a_reader_that_leaves_early_is_no_traceback(self, tmp_path: Path) -> None:
        np.save(tmp_path / "x.npy", make_recording(500, 2))
        subprocess.run([*PROGRAM, "compress", "x.npy", "-q"], cwd=tmp_path, check=True)
        process = subprocess.Popen(
            [*PROGRAM, "inspect", *["x.npy.lnn"] * 2000],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        process.stderr.close()
        assert process.wait() == 1


class TestBenchAndDemo:
    def test_bench_compares_with_what_is_installed(self, run: Run) -> None:
        write_npy(samples=2000)
        outcome = run("bench", "x.npy")
        assert outcome.code == 0
        for name in (
            "losslessnn -l 5",
            "gzip -6",
            "zstd -3",
            "xz -6",
            "bz2",
            "lz4",
            "Blosc",
            "pcodec",
            "FLAC",
            "WavPack",
        ):
            assert name in outcome.out

    def test_bench_draws_a_picture(self, run: Run) -> None:
        pytest.importorskip("matplotlib")
        write_npy()
        outcome = run("bench", "x.npy", "--only", "gzip -6", "-o", "x.png")
        assert "drawn in x.png" in outcome.out
        assert Path("x.png").read_bytes().startswith(b"\x89PNG")

    def test_a_picture_that_cannot_be_drawn_is_refused_before_anything_is_measured(self, run: Run) -> None:
        pytest.importorskip("matplotlib")
        write_npy()
        for output in ("x.xyz", "x"):
            outcome = run("bench", "x.npy", "-o", output)
            assert (outcome.code, outcome.out) == (2, "")
            assert "ends in .png, .svg, .pdf" in outcome.err
        Path("file").touch()
        outcome = run("bench", "x.npy", "-o", "file/x.png")
        assert (outcome.code, outcome.out) == (1, "")
        assert "drawn in new/x.svg" in run("bench", "x.npy", "--only", "gzip -6", "-o", "new/x.svg").out

    def test_names_in_a_picture_are_beside_each_other(self) -> None:
        pytest.importorskip("matplotlib")
        from matplotlib.figure import Figure

        figure = Figure()
        axes = figure.subplots()
        points = [("losslessnn -l 5", 9.0, 3.9, "C3"), ("WavPack -hhx4", 8.0, 3.62, "C0"),
                  ("FLAC -8p", 8.5, 3.57, "C0"), ("Blosc zstd-5 bitshuffle", 10.0, 3.6, "C0")]  # fmt: skip
        axes.scatter([point[1] for point in points], [point[2] for point in points])
        axes.margins(x=0.25)
        figure.draw_without_rendering()
        name_points(axes, points)
        boxes = [text.get_window_extent() for text in axes.texts]
        assert [text.get_text() for text in axes.texts] == [point[0] for point in points]
        for number, box in enumerate(boxes):
            assert not box.count_overlaps(boxes[:number]), axes.texts[number]
            assert axes.bbox.x0 <= box.x0 < box.x1 <= axes.bbox.x1, axes.texts[number]

    def test_bench_names_peers_that_are_missing(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        write_npy(samples=2000)
        monkeypatch.setenv("PATH", "")
        assert "FLAC -8p: needs the program flac" in run("bench", "x.npy").out

    def test_bench_of_part_of_a_recording_as_csv(self, run: Run) -> None:
        make_recording(20_000, 4).tofile("x.dat")
        outcome = run(
            "bench",
            "x.dat",
            "-n",
            "4",
            "-s",
            "1000",
            "--seconds",
            "2",
            "--only",
            "gzip -9",
            "--only",
            "xz -6",
            "--csv",
        )
        header, *rows = outcome.out.splitlines()
        assert header.startswith("codec,raw_bytes,compressed_bytes,ratio")
        assert [row.split(",")[:2] for row in rows] == [
            ["losslessnn -l 5", "16000"],
            ["gzip -9", "16000"],
            ["xz -6", "16000"],
        ]

    def test_bench_notes_seconds_without_a_rate(self, run: Run) -> None:
        write_npy(samples=2000)
        gzip = ("--only", "gzip -6", "--seconds", "1")
        note = "note: --seconds means nothing without a sampling rate (-s): the first 32 MB are used\n"
        assert note in run("bench", "x.npy", *gzip).out
        assert note in run("bench", "x.npy", *gzip, "--csv").err
        outcome = run("bench", "x.npy", *gzip, "-s", "1000")
        assert note not in outcome.out
        assert "x.npy: 1000 x 4 int16" in outcome.out

    def test_bench_of_nonsense(self, run: Run) -> None:
        write_npy()
        assert run("bench", "x.npy", "--only", "nonsense").code == 2
        assert run("bench", "nothing.npy").code == 1
        assert run("bench", ".").err == "losslessnn: .: is a folder; give the files in it\n"
        Path("empty.txt").write_bytes(b"")
        assert "no samples" in run("bench", "empty.txt", "--as-bytes").err

    def test_demo_writes_a_zarr_store_that_opens(self, run: Run) -> None:
        zarr = pytest.importorskip("zarr")
        outcome = run("demo", "--seconds", "0.3", "-o", "kept")
        assert outcome.code == 0
        for words in (
            "simulated 9000 time steps of 64 channels",
            "equal to the last bit",
            "gzip",
            "zstd",
            "Blosc",
        ):
            assert words in outcome.out
        assert zarr.open("kept/demo.zarr", mode="r").shape == (9000, 64)

    @pytest.mark.parametrize("zarr_is_there", [True, False])
    def test_demo_overwrites_nothing_unless_it_is_told_to(
        self, run: Run, monkeypatch: pytest.MonkeyPatch, zarr_is_there: bool
    ) -> None:
        if zarr_is_there:
            pytest.importorskip("zarr")
            precious = Path("kept/demo.zarr/precious")
        else:
            monkeypatch.setitem(sys.modules, "zarr", None)
            precious = Path("kept/demo.npy")
        precious.parent.mkdir(parents=True)
        precious.write_text("precious")
        outcome = run("demo", "--seconds", "0.1", "-o", "kept")
        assert outcome.code == 1
        there = "kept/demo.zarr" if zarr_is_there else "kept/demo.npy"
        assert outcome.err == f"losslessnn: {there} exists already; -f overwrites it\n"
        assert precious.read_text() == "precious"
        assert run("demo", "--seconds", "0.1", "-o", "kept", "-f").code == 0

    def test_demo_without_zarr(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "zarr", None)
        outcome = run("demo", "--seconds", "0.3", "-o", "kept")
        assert outcome.code == 0
        assert "zarr is not installed" in outcome.out
        with open_archive("kept/demo.npy.lnn") as archive:
            assert archive.shape == (9000, 64)


@pytest.mark.slow
def test_a_new_installation_says_why_it_takes_its_time(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_recording(60_000, 4))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    said, speeds = [], []
    for _ in range(2):
        call = [*PROGRAM, "compress", "x.npy", "-f"]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, check=True, text=True)
        said.append(re.findall("compiling kernels( for| took)", done.stderr))
        speeds.append(float(re.findall(r"([\d.]+) MB/s", done.stdout)[0]))
    assert said == [[" for", " took"], []]
    assert speeds[0] > 0, "the time that compiling takes is no part of it"


def test_a_missing_extra_is_no_bug() -> None:
    assert (
        explain(ModuleNotFoundError('pip install "losslessnn[train]"')) == 'pip install "losslessnn[train]"'
    )
    assert "a bug in losslessnn" in explain(ModuleNotFoundError("No module named 'losslessnn.nowhere'"))
