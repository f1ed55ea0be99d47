"""The command line: ``losslessnn compress | decompress | extract | inspect | verify | bench | fit | models |
repack | advise | demo``.

Commands are loaded when they are called, and import what they need when they run, so that ``--help`` is
instant.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, NoReturn

import click

from losslessnn import __version__

__all__ = ["cli", "main"]

OK = 0
FAILED = 1
INTERRUPTED = 128 + signal.SIGINT

_COMMANDS = {
    "compress": "Compress recordings into .lnn archives.",
    "decompress": "Restore the original files, byte for byte.",
    "extract": "Write a stretch of some channels to a file.",
    "inspect": "Show what an archive holds and where its bytes go.",
    "verify": "Check that archives are intact.",
    "bench": "Compare a recording with other compressors.",
    "fit": "Fit a profile to recordings, for others like them.",
    "models": "List, show or export profiles.",
    "repack": "Rewrite HDF5 and NWB files with their datasets compressed.",
    "advise": "Recommend chunk shapes, measured on a recording.",
    "demo": "Simulate a probe, compress it, verify, compare.",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        command: click.Command = import_module(f"losslessnn.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(_COMMANDS.items()))


@click.group(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="`losslessnn COMMAND --help` has examples of each command.",
)
@click.version_option(__version__, prog_name="losslessnn")
def cli() -> None:
    """Lossless neural compression for scientific recordings: fewer bytes, the same bits back.

    \b
    Examples:
      losslessnn compress recording.npy             writes recording.npy.lnn
      losslessnn compress *.wav -o packed           writes packed/<name>.lnn
      losslessnn compress raw.dat -n 64 -d int16 -s 30000
      losslessnn decompress packed/*.lnn -o back    restores the files, byte for byte
      losslessnn demo                               shows what it does, on a simulated probe

    \b
    Exit codes: 0 all is well, 1 something failed (the message says what), 2 wrong usage,
    130 interrupted by Ctrl-C. Files get their names once they are whole, and checked.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit.

    Parameters
    ----------
    arguments : sequence of str, optional
        Instead of those of the process.

    Raises
    ------
    SystemExit
        Always: 0 ok, 1 error, 2 usage. A process that is interrupted or terminated ends at once, with 130
        or 143 (129 if its terminal is closed).
    """
    _escape_what_cannot_be_shown()
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # Windows has no SIGHUP, and alone has SIGBREAK
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
            signal.signal(number, _terminate)
    try:
        code = _run(arguments)
    except _Terminated as stop:
        code = stop.code
    if code > 128:
        _end(code)
    sys.exit(code)


def _escape_what_cannot_be_shown() -> None:
    """Names of files may have letters that a stream has not: they are no reason to stop."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class _Terminated(SystemExit):
    """A signal, as an exception, so that temporary files are removed on the way out."""

    code: int


def _terminate(number: int, frame: Any) -> NoReturn:
    raise _Terminated(128 + number)


def _end(code: int) -> NoReturn:
    """End the process without waiting for frames under way in other threads, and leave nothing behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if newfile := sys.modules.get("losslessnn.newfile"):
        newfile.abandon_new_files()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody may be there to read it
            stream.flush()
    os._exit(code)


def _run(arguments: Sequence[str] | None) -> int:
    try:
        own_process = arguments is None  # commands find it as their context's `obj`
        code = cli.main(args=arguments, prog_name="losslessnn", standalone_mode=False, obj=own_process)
        sys.stdout.flush()
        return code if isinstance(code, int) else OK
    except click.Abort:
        click.echo("losslessnn: interrupted; nothing half-written was left behind", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        for given in sys.argv[1:] if arguments is None else arguments:
            if given.startswith("-") and given != "-" and os.path.lexists(given):
                click.echo(f"{given} is a file, too: ./{given} names it", err=True)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output has left; without this Python complains once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except Exception as error:
        from losslessnn.cli.talk import complain

        complain(error)
        return FAILED
