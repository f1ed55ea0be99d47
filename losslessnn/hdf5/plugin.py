"""Build the plugin that brings the filter to processes which do not import `losslessnn.hdf5`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from losslessnn.errors import LosslessnnError
from losslessnn.hdf5.filter import FILTER_ID

LIBRARY = "liblosslessnn_hdf5.so"
_COMPILERS = ("cc", "gcc", "clang")


def build_plugin(folder: str | os.PathLike[str]) -> Path:
    """Compile the plugin into a folder, for ``HDF5_PLUGIN_PATH``.

    With that variable set before Python starts, h5py reads and writes losslessnn's datasets without an
    import, in processes started by spawn as well, and PyTables and netCDF4, which bring their own HDF5, read
    them. The Python they run in must have ``losslessnn[hdf5]`` installed. Programs without Python, such as
    ``h5dump``, report that the filter failed.

    Parameters
    ----------
    folder : path-like
        Where to put it; made if it does not exist.

    Returns
    -------
    pathlib.Path
        The library. It serves every version of Python and HDF5.

    Raises
    ------
    LosslessnnError
        If there is no C compiler, or it fails, or the folder cannot be made.

    Examples
    --------
    >>> os.environ["HDF5_PLUGIN_PATH"] = str(build_plugin("plugins").parent)  # doctest: +SKIP
    """
    named = os.environ.get("CC")
    compiler = named.split() if named else [found for found in map(shutil.which, _COMPILERS) if found][:1]
    if not compiler:
        raise LosslessnnError(
            f"found no C compiler ({', '.join(_COMPILERS)}): install one, or import losslessnn.hdf5 "
            "in every process"
        )
    library = Path(folder).resolve() / LIBRARY
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LosslessnnError(f"cannot make the folder {library.parent}: {error.strerror}") from error
    source = Path(__file__).with_name("plugin.c")
    options = ["-shared", "-fPIC", "-O1", f"-DFILTER_ID={FILTER_ID}", str(source), "-o", str(library), "-ldl"]
    try:
        done = subprocess.run([*compiler, *options], capture_output=True, text=True, check=False)
    except OSError as error:
        raise LosslessnnError(f"cannot run the C compiler {compiler[0]}: {error.strerror}") from error
    if done.returncode:
        raise LosslessnnError(f"{compiler[0]} could not compile {source}: {done.stderr.strip()}")
    return library
