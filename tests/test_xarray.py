"""xarray over Zarr, both formats, and over netCDF. Needs zarr 3: see test_examples.py."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import NeuralCodec
from support import make_recording

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")
zarr = pytest.importorskip("zarr", minversion="3")

from losslessnn.hdf5 import FILTER_ID, Neural  # noqa: E402
from losslessnn.zarr import NeuralArrayCodec  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")

FORMAT_2 = {"compressors": NeuralCodec(level=3), "chunks": (2000, 6)}
FORMAT_3 = {"serializer": NeuralArrayCodec(level=3), "compressors": None, "chunks": (1000, 6)}
SHARDED = {**FORMAT_3, "shards": (4000, 6)}
NETCDF = {"chunksizes": (2000, 6), **Neural(level=3)}


def dataset(dtype: str = "<i2") -> Any:
    """A labelled recording of 6 channels."""
    samples = make_recording(4500, 6).astype(dtype)
    return xr.Dataset({"raw": (("time", "channel"), samples)}, {"channel": np.arange(6)})


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "<i4", "<f4", "<f8"])
@pytest.mark.parametrize(
    ("zarr_format", "encoding"),
    [(2, FORMAT_2), (3, FORMAT_3), (3, SHARDED)],
    ids=["format 2", "format 3", "sharded"],
)
def test_zarr(zarr_format: int, encoding: dict, dtype: str, tmp_path: Path) -> None:
    original = dataset(dtype)
    original.to_zarr(tmp_path / "s.zarr", zarr_format=zarr_format, encoding={"raw": encoding})
    restored = xr.open_zarr(tmp_path / "s.zarr")
    xr.testing.assert_identical(restored.load(), original)
    assert restored.raw.values.astype(dtype).tobytes() == original.raw.values.tobytes()


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<u2", "<i4", "<f4", "<f8"])
def test_netcdf(dtype: str, tmp_path: Path) -> None:
    original = dataset(dtype)
    original.to_netcdf(tmp_path / "f.nc", engine="h5netcdf", encoding={"raw": NETCDF})
    restored = xr.load_dataset(tmp_path / "f.nc", engine="h5netcdf")
    native = original.raw.values.astype(np.dtype(dtype).newbyteorder("="))  # xarray's doing: not the filter's
    assert restored.raw.dtype == native.dtype
    assert restored.raw.values.tobytes() == native.tobytes()


@pytest.mark.parametrize(("zarr_format", "encoding"), [(2, FORMAT_2), (3, SHARDED)])
def test_zarr_is_read_in_a_fresh_process_without_an_import(
    zarr_format: int, encoding: dict, tmp_path: Path
) -> None:
    dataset().to_zarr(tmp_path / "s.zarr", zarr_format=zarr_format, encoding={"raw": encoding})
    program = "import numpy, xarray; numpy.save('x.npy', xarray.open_zarr('s.zarr').raw.values)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, cwd=tmp_path)
    assert np.load(tmp_path / "x.npy").tobytes() == dataset().raw.values.tobytes()


def test_netcdf_needs_the_import(tmp_path: Path) -> None:
    dataset().to_netcdf(tmp_path / "f.nc", engine="h5netcdf", encoding={"raw": NETCDF})
    program = """
import numpy, xarray
try:
    xarray.load_dataset("f.nc", engine="h5netcdf")
except OSError:
    import losslessnn.hdf5
    numpy.save("x.npy", xarray.load_dataset("f.nc", engine="h5netcdf").raw.values)
"""
    environment = {name: value for name, value in os.environ.items() if name != "HDF5_PLUGIN_PATH"}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=environment)
    assert np.load(tmp_path / "x.npy").tobytes() == dataset().raw.values.tobytes()


# ---------------------------------------------------------------- what the documentation warns of


def test_a_dataset_saved_again_stays_compressed(tmp_path: Path) -> None:
    dataset().to_zarr(tmp_path / "2.zarr", zarr_format=2, encoding={"raw": FORMAT_2})
    xr.open_zarr(tmp_path / "2.zarr").to_zarr(tmp_path / "again.zarr", zarr_format=2)
    assert zarr.open(tmp_path / "again.zarr", mode="r")["raw"].compressors == (NeuralCodec(level=3),)


def test_another_format_needs_another_encoding(tmp_path: Path) -> None:
    dataset().to_zarr(tmp_path / "2.zarr", zarr_format=2, encoding={"raw": FORMAT_2})
    opened = xr.open_zarr(tmp_path / "2.zarr")
    with pytest.raises(TypeError, match="BytesBytesCodec"):
        opened.to_zarr(tmp_path / "3.zarr", zarr_format=3)
    opened.drop_encoding().to_zarr(tmp_path / "new.zarr", zarr_format=3)
    xr.testing.assert_identical(xr.open_zarr(tmp_path / "new.zarr").load(), dataset())


def test_netcdf_saved_again_needs_its_encoding_again(tmp_path: Path) -> None:
    dataset().to_netcdf(tmp_path / "f.nc", engine="h5netcdf", encoding={"raw": NETCDF})
    opened = xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match="unknown"):
        opened.to_netcdf(tmp_path / "g.nc", engine="h5netcdf")
    opened.drop_encoding().to_netcdf(tmp_path / "h.nc", engine="h5netcdf", encoding={"raw": NETCDF})
    import h5py

    with h5py.File(tmp_path / "h.nc") as file:
        assert file["raw"].id.get_create_plist().get_filter(0)[0] == FILTER_ID


def test_a_wrong_encoding_in_mode_w_deletes_the_old_store(tmp_path: Path) -> None:
    path = tmp_path / "s.zarr"
    dataset().to_zarr(path, zarr_format=2, encoding={"raw": FORMAT_2})
    with pytest.raises(TypeError):
        dataset().to_zarr(path, mode="w", encoding={"raw": FORMAT_2})
    assert not (path / "raw").exists()


def test_fill_values_of_stores_that_zarr_wrote_are_taken_as_missing(tmp_path: Path) -> None:
    group = zarr.open_group(tmp_path / "s.zarr", mode="w", zarr_format=2)
    samples = dataset().raw.values
    array = group.create_array("raw", data=samples, compressors=NeuralCodec())
    array.attrs["_ARRAY_DIMENSIONS"] = ["time", "channel"]
    masked = xr.open_zarr(tmp_path / "s.zarr", consolidated=False)
    assert masked.raw.dtype == "float32"
    assert np.array_equal(np.isnan(masked.raw.values), samples == 0)
    restored = xr.open_zarr(tmp_path / "s.zarr", consolidated=False, mask_and_scale=False)
    assert restored.raw.values.tobytes() == samples.tobytes()
