"""Options that commands share, and what they make of them."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from losslessnn import kernels
from losslessnn.device import DEVICES, VARIABLE, usual_device
from losslessnn.levels import DEFAULT_LEVEL, FASTEST_LEVEL, SMALLEST_LEVEL

if TYPE_CHECKING:
    from losslessnn.cli.helpers import Helpers
    from losslessnn.recordings import Reading

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_MOST_CHANNELS = 1 << 24


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


class NamedPath(click.Path):
    """Paths; never an empty name, which a shell's unset variable leaves and `Path` takes for this folder."""

    def __init__(self, **allowed: bool) -> None:
        super().__init__(path_type=Path, **allowed)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("the name is empty (a variable that is not set?); . names this folder", param, ctx)
        return super().convert(value, param, ctx)


files_argument = click.argument(
    "files", nargs=-1, required=True, type=NamedPath(readable=False), metavar="FILE…"
)
"""Those that cannot be read are complained about one by one, and do not keep the others from being done."""


def _recursive(more: str = "") -> Decorator:
    text = f"Also the files in folders given, and in folders therein{more}."
    but = "Hidden files, hidden folders and links to folders are left out."
    return click.option("-r", "--recursive", is_flag=True, help=f"{text} {but}")


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
    type=click.IntRange(FASTEST_LEVEL, SMALLEST_LEVEL),
    default=DEFAULT_LEVEL,
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
        help="Sampling rate, Hz, of files that do not say it: raw ones, .npy, .npz.",
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
            kernels.before_compiling.append(
                _helped(ctx.params.get("level", DEFAULT_LEVEL), ctx.params.get("threads", 0))
            )
        return super().invoke(ctx)


def _helped(level: int, threads: int) -> Callable[[str], bool]:
    """Helpers that start when the first kernel must be compiled; nothing is imported before."""

    @cache
    def helpers() -> Helpers:
        from losslessnn.cli.helpers import Helpers

        return Helpers(level, threads)

    return lambda kernel: helpers().wait_for(kernel)
