"""What the commands share: options, progress, reports, and how a batch of files is worked through."""

from __future__ import annotations

import errno
import logging
import math
import os
import sys
import tempfile
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from losslessnn import kernels
from losslessnn.device import DEVICES, VARIABLE, usual_device
from losslessnn.errors import LosslessnnError

if TYPE_CHECKING:
    from losslessnn.archives.report import FileReport
    from losslessnn.cli.helpers import Helpers
    from losslessnn.recordings import Reading

SUFFIX = ".lnn"
STDIO = Path("-")
STDIN_NAME = "standard input"
Pool = tuple[Executor, int]
Item = TypeVar("Item")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_MOST_CHANNELS = 1 << 24
_SPOOL = "stdin"  # a file's name
_WORTH_MENTIONING = 1.0  # second
_SMALL_FILE_BYTES = 12_000_000
"""Files up to this size make a single frame, so that threads share them out whole."""


# ------------------------------------------------------------------------------------------------------------
# Options


def options(*decorators: Decorator) -> Decorator:
    """Several click decorators as one, in the order in which help shows them."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


class FiniteRange(click.FloatRange):
    """Real numbers within bounds: neither infinite nor none at all, which compare as if they were."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is no number to reckon with.", param, ctx)
        return number


files_argument = click.argument(
    "files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False), metavar="FILE…"
)
"""Those that cannot be read are complained about one by one, and do not keep the others from being done."""


def _recursive(more: str = "") -> Decorator:
    text = (
        f"Also the files in folders given, and in folders therein{more}. Hidden files and links to folders "
    )
    return click.option("-r", "--recursive", is_flag=True, help=f"{text}are left out.")


recursive_option = _recursive("; -o keeps their places")
recursive_reading_option = _recursive()

threads_option = click.option(
    "-T", "--threads", type=click.IntRange(0), default=0, show_default="0, all cores", help="Threads to use."
)


def _code_on(context: click.Context, parameter: click.Parameter, device: str | None) -> None:
    """Make a device the usual one, for this process and for those it starts."""
    if device is not None:
        os.environ[VARIABLE] = device
    try:
        usual_device()
    except ValueError as error:
        raise click.UsageError(str(error)) from None


device_option = click.option(
    "--device",
    type=click.Choice(DEVICES),
    expose_value=False,
    callback=_code_on,
    show_default=f"{VARIABLE} in the environment, or cpu",
    help="Where samples are coded: cuda for a GPU (with the extra gpu), auto for a GPU if there is one. It "
    "takes as many frames at once as there are threads. The bytes are the same.",
)
force_option = click.option("-f", "--force", is_flag=True, help="Overwrite files that exist.")
level_option = click.option(
    "-l",
    "--level",
    type=click.IntRange(1, 9),
    default=5,
    show_default=True,
    help="1 is fastest, 9 is smallest.",
)
model_option = click.option(
    "-m",
    "--model",
    metavar="PROFILE|FAMILY",
    help="A profile that `losslessnn fit` made: its file, its name, or six or more first digits of its "
    "id. Or a family of models to fit to every frame: autoregressive, latent-factor.",
)
talk_options = options(
    click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something fails."),
    click.option(
        "--progress/--no-progress",
        default=None,
        help="Show a progress bar. Default: if standard error is a terminal.",
    ),
)
reading_options = options(
    click.option("-n", "--channels", type=click.IntRange(1, _MOST_CHANNELS), help="Channels of a raw file."),
    click.option(
        "-d",
        "--dtype",
        show_default="int16",
        help="Sample type of a raw file: int16, uint16, int24, int32, float32, >i2, …",
    ),
    click.option(
        "-s",
        "--rate",
        "sampling_rate",
        type=FiniteRange(0, min_open=True),
        help="Sampling rate of a raw file, Hz.",
    ),
    click.option("--as-bytes", is_flag=True, help="Keep the file as plain bytes, whatever it is."),
    click.option(
        "--time-axis",
        type=click.Choice(["auto", "first", "last"]),
        default="auto",
        show_default=True,
        help="Which axis of an .npy or .npz array is time. auto: the first, unless the array is wider than "
        "long and a sample of it codes smaller the other way.",
    ),
)


def make_reading(
    channels: int | None,
    dtype: str | None,
    sampling_rate: float | None,
    as_bytes: bool,
    time_axis: str,
    **more: Any,
) -> Reading:
    """The reading that the options describe."""
    import numpy as np

    from losslessnn.recordings import Reading

    if dtype not in (None, "int24"):
        try:
            np.dtype(dtype)
        except TypeError:
            raise click.BadParameter(
                f"{dtype!r} is no sample type; try int16, uint16, int24, int32 or float32", param_hint="'-d'"
            ) from None
    return Reading(channels, dtype, sampling_rate, as_bytes, time_axis=time_axis, **more)


class EncodingCommand(click.Command):
    """A command whose kernels, if they must be compiled, are compiled on more than one core."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it; in somebody else's program without starting any process."""
        if ctx.obj:
            kernels.before_compiling.append(_helped(ctx.params.get("level", 5), ctx.params.get("threads", 0)))
        return super().invoke(ctx)


def _helped(level: int, threads: int) -> Callable[[str], bool]:
    """Helpers that start when the first kernel must be compiled; nothing is imported before."""

    @cache
    def helpers() -> Helpers:
        from losslessnn.cli.helpers import Helpers

        return Helpers(level, threads)

    return lambda kernel: helpers().wait_for(kernel)


# ------------------------------------------------------------------------------------------------------------
# Saying things


def complain(error: BaseException, about: object = None) -> None:
    """Print one line about an error to standard error; all of it if ``LOSSLESSNN_DEBUG`` is set."""
    click.echo(f"losslessnn: {explain(error, about)}", err=True)
    if os.environ.get("LOSSLESSNN_DEBUG"):
        traceback.print_exception(error)


def explain(error: BaseException, about: object = None) -> str:
    """What went wrong, in one line."""
    missing_extra = isinstance(error, ModuleNotFoundError) and "pip install" in str(error)
    if isinstance(error, LosslessnnError) or missing_extra:
        text = str(error)
    elif isinstance(error, OSError):
        text = error.strerror or str(error)
        if isinstance(error, IsADirectoryError):
            text = f"is a folder; give the files in it{', or -r for all of them' * _takes_folders()}"
        if error.filename is not None:
            return in_one_line(f"{error.filename}: {text}")
    elif isinstance(error, MemoryError):
        text = "not enough memory; smaller frames (--chunk-mb) or fewer threads (-T) need less"
    else:
        text = " ".join(str(error).split())
        text = f"{type(error).__name__}: {text} (a bug in losslessnn; set LOSSLESSNN_DEBUG=1 to see where)"
    return in_one_line(text if about is None or str(about) in text else f"{about}: {text}")


def _takes_folders() -> bool:
    """Whether the command that is running has -r; those that have it explain their errors themselves."""
    context = click.get_current_context(silent=True)
    return context is not None and "recursive" in context.params


def in_one_line(text: str) -> str:
    r"""Text with names of files in it, which may hold anything, as one line that any terminal shows.

    >>> print(in_one_line("two\nlines.npy"))
    two\nlines.npy
    """
    readable = os.fsencode(text).decode(errors="backslashreplace")
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in readable
    )


def megabytes(size: int | float) -> str:
    """A size for people, in MB of 1e6 bytes; in bytes if it is small.

    >>> megabytes(1_234), megabytes(123_456_789)
    ('1234 bytes', '123.5 MB')
    """
    if size < 10_000:
        return f"{size:.0f} bytes"
    number = size / 1e6
    digits = 1 if number >= 100 else 2 if number >= 10 else 3 if number >= 0.1 else 4
    return f"{number:.{digits}f} MB"


def per_second(size: int | float, seconds: float) -> str:
    """A speed for people.

    >>> per_second(24_128, 0.71), per_second(3e9, 12.5)
    ('0.034 MB/s', '240 MB/s')
    """
    speed = size / 1e6 / max(seconds, 1e-9)
    return f"{speed:.{0 if speed >= 100 else 1 if speed >= 0.1 else 3}f} MB/s"


def plural(count: int, noun: str) -> str:
    """A number and its noun.

    >>> plural(1, "file"), plural(3, "file")
    ('1 file', '3 files')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _bar_size() -> dict[str, int]:
    """Room for a progress bar where the terminal (in a container, on a serial line) states none."""
    try:
        unknown = 0 in os.get_terminal_size(sys.stderr.fileno())
    except (OSError, ValueError):
        return {}
    return {"ncols": 80, "nrows": 24} if unknown else {}


class _ToTalk(logging.Handler):
    """Shows the package's log lines among the reports' progress."""

    def __init__(self, talk: Talk) -> None:
        super().__init__(logging.INFO)
        self._talk = talk

    def emit(self, record: logging.LogRecord) -> None:
        self._talk.mention(record.getMessage())


def _seconds_compiling() -> float:
    """What compiling kernels has taken in this process, which may not have loaded any."""
    compiling = sys.modules.get("losslessnn.kernels.cpu.compiling")
    return 0.0 if compiling is None else compiling.seconds_compiling()


class Talk:
    """Prints reports, and shows a progress bar where somebody watches.

    Parameters
    ----------
    total : int
        Bytes there are to do.
    quiet : bool
        Print no reports.
    progress : bool or None
        Show the bar; None: only on a terminal.
    to_stderr : bool
        Print reports there, because standard output carries data.
    """

    def __init__(self, total: int, quiet: bool, progress: bool | None, to_stderr: bool = False) -> None:
        self._quiet = quiet
        self._stream: IO[str] = sys.stderr if to_stderr else sys.stdout
        self._lock = threading.Lock()
        self._original = self._archived = 0
        self._bar: Any = None
        self._compiled_before = _seconds_compiling()
        self._logger = logging.getLogger("losslessnn")
        self._handler = _ToTalk(self)
        if not quiet:
            self._logger.addHandler(self._handler)
            self._logger.setLevel(logging.INFO)
        if progress or (progress is None and not quiet and sys.stderr.isatty()):
            from tqdm import tqdm

            self._bar = tqdm(
                total=total,
                unit="B",
                unit_scale=True,
                unit_divisor=1000,
                file=sys.stderr,
                leave=False,
                mininterval=0.2,
                **_bar_size(),
            )

    def advance(self, original: int, archived: int) -> None:
        """Count bytes that have been done; from any thread."""
        if self._bar is None:
            return
        with self._lock:
            self._original += original
            self._archived += archived
            if self._archived and self._original:
                self._bar.set_postfix_str(f"ratio {self._original / self._archived:.3f}", refresh=False)
            self._bar.update(original)

    def say(self, line: str) -> None:
        """Print a line of the report."""
        if not self._quiet:
            self._print(line, self._stream)

    def mention(self, line: str) -> None:
        """Print a line that is not part of the report."""
        self._print(line, sys.stderr)

    def complain(self, error: BaseException, about: object) -> None:
        """Print one line about an error."""
        if self._bar is None:
            complain(error, about)
        else:
            self._print(f"losslessnn: {explain(error, about)}", sys.stderr)

    def _print(self, line: str, stream: IO[str]) -> None:
        line = in_one_line(line)
        if self._bar is None:
            click.echo(line, file=stream)
        else:
            with self._lock:
                self._bar.write(line, file=stream)

    def close(self) -> None:
        """Take the bar away."""
        compiled = _seconds_compiling() - self._compiled_before
        if compiled > _WORTH_MENTIONING and not self._quiet:
            self.mention(f"compiling kernels took {compiled:.1f} s, which is in no speed above")
        self._logger.removeHandler(self._handler)
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def mention_compiling(quiet: bool = False) -> None:
    """Say it if the command that is running compiles kernels, as a `Talk` does; for those that have none."""
    click.get_current_context().with_resource(Talk(0, quiet, progress=False))


# ------------------------------------------------------------------------------------------------------------
# Batches


def thread_pool(threads: int) -> AbstractContextManager[Pool]:
    """A `worker_pool` of this process, which is ours alone, so that its heap can be kept small."""
    from losslessnn.memory import keep_heap_small
    from losslessnn.workers import worker_pool

    keep_heap_small()
    return worker_pool(threads)


def run_batch(
    items: Sequence[Item],
    size: Callable[[Item], int],
    work: Callable[[Item, Pool], FileReport],
    threads: int,
    talk: Talk,
    name: Callable[[Item], object] = str,
    shared: AbstractContextManager[Pool] | None = None,
) -> Iterator[tuple[Item, FileReport | None]]:
    """Work through files: large ones one after the other on all threads, small ones side by side.

    Yields each item in order with its report, or None after an error, which has been printed. `shared` is a
    pool to use instead of threads; it is left open to files side by side.
    """
    from losslessnn.workers import Here

    with shared or thread_pool(threads) as pool:
        executor, count = pool
        waiting: deque[tuple[Item, Future[FileReport]]] = deque()

        def finish() -> tuple[Item, FileReport | None]:
            item, future = waiting.popleft()
            try:
                return item, future.result()
            except Exception as error:
                talk.complain(error, name(item))
                return item, None

        for item in items:
            if count > 1 and size(item) <= _SMALL_FILE_BYTES:
                waiting.append((item, executor.submit(work, item, pool if shared else (Here(), 1))))
                if len(waiting) > 2 * count:
                    yield finish()
            else:
                while waiting:
                    yield finish()
                waiting.append((item, Here().submit(work, item, pool)))
                yield finish()
        while waiting:
            yield finish()


@dataclass(frozen=True)
class Inputs:
    """The files to work on.

    Attributes
    ----------
    files : list of pathlib.Path
    places : list of pathlib.Path
        Of each file: the folder where it belongs within an output folder.
    others : list of pathlib.Path
        Files of another kind in the folders given.
    unread : list of OSError
        Folders that could not be read, which has been said.
    """

    files: list[Path]
    places: list[Path]
    others: list[Path]
    unread: list[OSError] = field(default_factory=list)


def find_inputs(
    given: Sequence[Path], recursive: bool, wanted: Callable[[Path], bool] | None = None
) -> Inputs:
    """The files given; and if `recursive`, those of the folders given that are wanted (None: archives).

    Raises
    ------
    click.ClickException
        If there are none.
    """
    wanted = wanted or is_archive
    found = Inputs([], [], [])
    for start in given:
        is_folder = recursive and start.is_dir()
        for path in _files_below(start, found.unread) if is_folder else [start]:
            if is_folder and not wanted(path):
                found.others.append(path)
            else:
                found.files.append(path)
                found.places.append(path.parent.relative_to(start) if is_folder else Path())
    for error in found.unread:
        complain(error)
    if not found.files:
        raise click.ClickException(f"{', '.join(map(str, given))}: nothing to do")
    return found


def is_archive(path: Path) -> bool:
    """Whether a file's name is that of an archive."""
    return path.suffix == SUFFIX


def _files_below(folder: Path, unread: list[OSError]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=unread.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(parent, name) for name in sorted(names) if not name.startswith("."))


def file_size(path: Path) -> int:
    """Bytes of a file, 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def original_length(path: Path) -> int:
    """Bytes of the file that an archive restores; 0 if it cannot be read, which is for others to say."""
    from losslessnn.archives.archive import Archive

    try:
        with Archive(path, recover=True) as archive:
            return archive.original_length
    except Exception:
        return 0


def make_folder_for(output: Path) -> None:
    """Make the folder that a file is to be written to; fail now, and not when all the work is done."""
    output.parent.mkdir(parents=True, exist_ok=True)
    if not os.access(output.parent, os.W_OK):
        text = f"{os.strerror(errno.EACCES)}; -o names another place"
        raise PermissionError(errno.EACCES, text, str(output))


def remove_done(path: Path, report: FileReport, talk: Talk) -> bool:
    """Remove a file that is not needed any more; whether that was possible, which is said if not."""
    try:
        if not report.source_is_as_read():
            raise OSError(None, "has changed since it was read")
        path.unlink()
    except OSError as error:
        talk.complain(OSError(error.errno, f"{error.strerror}; it was not removed", str(path)), path)
        return False
    return True


def refuse_twins(pairs: Iterable[tuple[Path, Path]]) -> None:
    """Usage error if two inputs would become the same file."""
    seen: dict[str, Path] = {}
    for source, destination in pairs:
        key = os.path.abspath(destination)
        if key in seen:
            raise click.UsageError(
                f"{seen[key]} and {source} would both become {destination}; nothing was done. "
                "Give them different folders, one call each."
            )
        seen[key] = source


def check_stdio(files: Sequence[Path]) -> None:
    """Usage error if standard input is asked for along with other files."""
    if STDIO in files and len(files) > 1:
        raise click.UsageError("- (standard input) must be the only input")


def stdout_bytes() -> IO[bytes]:
    """Standard output for data; usage error if it is a terminal."""
    if sys.stdout.isatty():
        raise click.UsageError("data would go to the terminal; redirect standard output or give -o")
    return sys.stdout.buffer


def hand_on(path: Path, target: IO[bytes]) -> None:
    """Write a file's bytes to standard output; errors say that it is that."""
    import shutil

    with open(path, "rb") as file:
        try:
            shutil.copyfileobj(file, target, 1 << 20)
            target.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OSError(error.errno, error.strerror, "standard output") from error


@contextmanager
def told_as(path: Path, shown: str) -> Iterator[None]:
    """Errors about a file call it by another name."""
    try:
        yield
    except LosslessnnError as error:
        raise type(error)(str(error).replace(str(path), shown)) from error


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for what is piped; errors say where it is, and how to choose another."""
    from losslessnn.newfile import NO_ROOM

    with tempfile.TemporaryDirectory(prefix="losslessnn-") as name:
        try:
            with told_as(Path(name, _SPOOL), STDIN_NAME):
                yield Path(name)
        except OSError as error:
            is_here = error.filename is None or str(error.filename).startswith(name)
            if not is_here or error.errno not in NO_ROOM:
                raise
            hint = f"{error.strerror}; what is piped is kept there until it is checked (TMPDIR names another)"
            raise OSError(error.errno, hint, tempfile.gettempdir()) from error


@contextmanager
def spooled_stdin(folder: Path) -> Iterator[Path]:
    """Standard input as a file in a temporary folder."""
    import shutil

    path = folder / _SPOOL
    with open(path, "wb") as spool:
        shutil.copyfileobj(sys.stdin.buffer, spool, 1 << 20)
    yield path
