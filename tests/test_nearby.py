"""Near-lossless: the bound holds for every value, the rest is lossless, and whoever reads it is told."""

from __future__ import annotations

import array
import math
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from losslessnn import NeuralCodec, compress, decompress, open_archive
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.chunk import describe_chunk
from losslessnn.chunk.nearby import quantise
from losslessnn.errors import RecordingError
from support import ADVERSARIAL, assert_same_bits, make_recording, run_command_line

INTEGERS = ["i1", "u1", "<i2", ">i2", "<u2", "<i4", ">u4", "<i8", "<u8"]
FLOATS = ["<f2", "<f4", ">f4", "<f8"]


def assert_near(original: np.ndarray, near: np.ndarray, bound: float) -> None:
    """No value further away than the bound: in exact arithmetic."""
    assert (near.dtype, near.shape) == (original.dtype, original.shape)
    for x, y in zip(original.ravel().tolist(), near.ravel().tolist(), strict=True):
        if isinstance(x, float) and not math.isfinite(x):
            assert str(x) == str(y)
        else:
            assert x == y or abs(Fraction(x) - Fraction(y)) <= bound


@example(array=np.array([-1, -(1 << 62) - 2]), bound=1)  # a step that is no integer of 64 bits
@settings(max_examples=150, deadline=None)
@given(
    array=st.sampled_from(INTEGERS).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 90))),
    bound=st.integers(0, 1 << 33) | st.integers(0, 9),
)
def test_integers_stay_within_the_bound(array: np.ndarray, bound: int) -> None:
    assert_near(array, quantise(array, bound), bound)


@settings(max_examples=150, deadline=None)
@given(
    array=st.sampled_from(FLOATS).flatmap(lambda dtype: hnp.arrays(dtype, st.integers(0, 90))),
    bound=st.floats(0, 1e300),
)
@example(array=np.array([0] + [2.0**-126] * 15, "<f4"), bound=2e270)
@example(array=np.array([-np.finfo("<f8").max, 2.0**970] + [0.0] * 22), bound=1.0)  # farther apart than reals
def test_floats_stay_within_the_bound(array: np.ndarray, bound: float) -> None:
    assert_near(array, quantise(array, bound), bound)


def test_decimals_whose_distance_is_the_bound_but_for_its_rounding() -> None:
    volts = np.arange(5, 1005) * 0.001
    assert_near(volts, quantise(volts, 0.5), 0.5)


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_every_array_has_near_ones(name: str) -> None:
    array = ADVERSARIAL[name]()
    near = decompress(compress(array, max_error=3))
    assert (near.dtype, near.shape) == (array.dtype, array.shape)
    if array.dtype.kind in "iuf":
        assert_near(array, near, 3)
    else:
        assert_same_bits(array, near)


@pytest.mark.parametrize(("bound", "saved"), [(1, 1.4), (4, 3.0), (16, 4.8)])
def test_bits_are_saved(bound: int, saved: float) -> None:
    """log2(2 bound + 1) bits a sample, nearly, as long as the noise is wider than the steps."""
    x = make_recording(6000, 4, scale=400.0)
    near = compress(x, max_error=bound)
    assert 8 * (len(compress(x)) - len(near)) / x.size > saved
    assert_near(x, decompress(near), bound)


def test_the_steps_of_the_converter_are_kept_whole() -> None:
    x = make_recording(3000, 4) * np.int16(16)
    assert_same_bits(x, decompress(compress(x, max_error=15)))  # half of nothing
    near = decompress(compress(x, max_error=16))
    assert not np.array_equal(near, x)
    assert (near % 16 == 0).all()
    volts = make_recording(3000, 4).astype("<f4") * np.float32(0.195)
    assert len(np.unique(quantise(volts, 0.4))) < 0.4 * len(np.unique(volts))


@pytest.mark.parametrize("scale", [1, 16, 0.195])
@pytest.mark.parametrize("dtype", ["<i2", "<u2", ">i4", "<u8", "<f4", "<f8"])
def test_what_is_written_in_pieces_stays_within_the_bound(dtype: str, scale: float) -> None:
    """As a Zarr array is that somebody appends to: every piece is coded with what is there already."""
    if scale < 1 and np.dtype(dtype).kind != "f":
        pytest.skip("no integers lie on such a lattice")
    zero = 20_000 if np.dtype(dtype).kind == "u" else 0
    x = ((make_recording(3000, 2, scale=100.0).astype(np.int64) + zero) * scale).astype(dtype)
    x[:, 1] = x[::-1, 0] // 2 if scale == 1 else x[::-1, 0]
    chunk = np.zeros_like(x)
    for begin in range(0, 3000, 100):
        chunk[begin : begin + 100] = x[begin : begin + 100]
        chunk = quantise(chunk, 2.1 * scale).copy()
    assert not np.array_equal(chunk, x)
    assert_near(x, chunk, 2.1 * scale)


@pytest.mark.parametrize(
    ("dtype", "late"),
    [
        ("<i2", 32767),
        ("<i2", -32768),
        ("<u2", 65535),
        ("<f4", -0.0),
        ("<f4", np.nan),
        ("<f8", np.inf),
        ("<f2", 9e3),
    ],
)
@pytest.mark.parametrize("bound", [1, 2, 5])
def test_what_comes_with_a_later_piece_moves_nothing_again(dtype: str, late: float, bound: int) -> None:
    """Clipped samples, gaps, signs of zeros: whatever is in a chunk, its values lie in the same groups."""
    x = np.rint(np.random.default_rng(0).normal(500, 100, (4000, 4))).astype(dtype)
    x[3000:3010] = late
    chunk = np.zeros_like(x)
    for begin in range(0, 4000, 1000):
        chunk[begin : begin + 1000] = x[begin : begin + 1000]
        chunk = quantise(chunk, bound).copy()
    assert not np.array_equal(chunk, x)
    assert_near(x, chunk, bound)


SCALES = [0.195, 0.195e-6, 0.25, 1.0, 2.34375, 1000.7]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["<f4", "<f8"])
def test_a_bound_below_the_step_leaves_scaled_integers_as_they_are(scale: float, dtype: str) -> None:
    """They are on a lattice that leaves no choice, and not on none at all: moved, they would get larger."""
    x = (make_recording(2000, 3) * scale).astype(dtype)
    for share in (0.3, 0.5, 0.9):
        assert_same_bits(quantise(x, share * scale), x)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["<i2", "<f4", "<f8"])
@pytest.mark.parametrize("steps", [1, 2, 10.5])
def test_what_was_moved_is_not_moved_again(scale: float, dtype: str, steps: float) -> None:
    """Not with the same bound, nor after a part of it was written anew, as Zarr does to a chunk."""
    scale = 1.0 if dtype == "<i2" else scale
    x = (make_recording(2000, 3) * scale).astype(dtype)
    bound = steps * scale * (1 + 1e-6)  # float32 rounds its multiples
    near = quantise(x, bound)
    assert_same_bits(quantise(near, bound), near)
    for edited in (0, near[5, 1], x[7, 2]):
        near = near.copy()
        near[:10] = edited
        near = quantise(near, bound)
        assert_near(x[10:], near[10:], bound)


@pytest.mark.filterwarnings("error")
def test_values_that_are_no_numbers_are_no_reason_to_warn() -> None:
    array = np.tile(np.array([0xD000, 0x3C00, 0x5800, 0x7D01], "<u2"), 100).view("<f2")  # one that signals
    assert_near(array, quantise(array, 1), 1)


def test_frames_say_what_was_done() -> None:
    x = make_recording(2000, 4)
    assert describe_chunk(compress(x)).max_error == 0
    assert describe_chunk(compress(x, max_error=2.5)).max_error == 2.5
    assert compress(x, max_error=0.5) == compress(x), "a bound that leaves no choice is lossless"


def test_the_default_is_lossless_and_settings_say_so() -> None:
    assert "max_error" not in NeuralCodec().get_config()
    codec = NeuralCodec(max_error=2)
    assert NeuralCodec.from_config({k: v for k, v in codec.get_config().items() if k != "id"}).max_error == 2
    assert "max_error=2" in repr(codec)
    x = make_recording(2000, 4)
    assert codec.encode(x) == compress(x, max_error=2)


@pytest.mark.parametrize("bound", [-1, float("nan"), float("inf"), "much"])
def test_what_is_no_bound(bound: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="max_error"):
        compress(np.zeros(100, "<i2"), max_error=bound)


TEXT = b"subject mouse 7, session 2026-11-23 " * 50


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_plain_bytes_hold_no_values_to_move(kind: Any) -> None:
    with pytest.raises(ValueError, match=r"plain bytes are no values to move by max_error=2.*frombuffer"):
        compress(kind(TEXT), max_error=2)
    assert decompress(compress(kind(TEXT), max_error=0)).tobytes() == TEXT


def test_arrays_of_bytes_do_hold_values() -> None:
    x = make_recording(2000, 4, "<u1")
    assert_near(x, decompress(compress(x, max_error=2)), 2)
    samples = array.array("h", range(1000))
    assert_near(np.array(samples), decompress(compress(samples, max_error=2)), 2)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda x: np.frombuffer(x, np.uint8)])
def test_the_codec_keeps_what_filters_made_bytes_of(kind: Any) -> None:
    codec = NeuralCodec(max_error=2)
    frame = codec.encode(kind(TEXT))
    assert codec.decode(frame).tobytes() == TEXT
    assert describe_chunk(frame).max_error == 0


@pytest.mark.parametrize(
    ("filters", "dtype"),
    [("Shuffle", "<i2"), ("Zlib", "<i2"), ("PackBits", "?")],
)
def test_filters_that_make_bytes_of_a_zarr_chunk(filters: str, dtype: str) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.0")
    x = (make_recording(1000, 4) // 100).astype(dtype)
    z = zarr.create_array(
        zarr.storage.MemoryStore(), shape=x.shape, chunks=(300, 4), dtype=x.dtype, zarr_format=2,
        filters=[getattr(numcodecs, filters)()], compressors=NeuralCodec(max_error=2),
    )  # fmt: skip
    z[:] = x
    np.testing.assert_array_equal(z[:], x)


@pytest.mark.filterwarnings("ignore:The data type")
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("dtype", [str, "U50", "S50"], ids=str)
def test_text_in_zarr_stores(dtype: Any, zarr_format: int) -> None:
    """Exact, or refused before anything is written."""
    zarr = pytest.importorskip("zarr", minversion="3.0")
    from losslessnn.zarr import NeuralArrayCodec

    text = np.array(["a", "bb", ("u" if dtype == "S50" else "ü") * 50] * 400, object)
    how: dict[str, Any] = {"serializer": NeuralArrayCodec(max_error=2), "compressors": None}
    if zarr_format == 2:
        how = {"compressors": NeuralCodec(max_error=2)}
    settings = {"shape": text.shape, "chunks": (500,), "dtype": dtype, "zarr_format": zarr_format, **how}
    store = zarr.storage.MemoryStore()
    if dtype is str and zarr_format == 3:
        with pytest.raises((TypeError, ValueError), match=r"its elements have no fixed size|VLenUTF8Codec"):
            zarr.create_array(store, **settings)
        return
    z = zarr.create_array(store, **settings)
    z[:] = text if dtype is str else text.astype(dtype)
    assert [one.decode() if isinstance(one, bytes) else str(one) for one in z[:]] == list(text)


def test_zarr_stores(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr", minversion="3.0")
    from losslessnn.zarr import NeuralArrayCodec

    x = make_recording(3000, 4)
    zarr.create_array(str(tmp_path / "x.zarr"), data=x, chunks=(1000, 4), compressors=None,
                      serializer=NeuralArrayCodec(max_error=2))  # fmt: skip
    z = zarr.open(str(tmp_path / "x.zarr"), mode="r")
    assert z.metadata.codecs[0].max_error == 2
    assert_near(x, z[...], 2)


def test_archives_restore_the_near_file(tmp_path: Path) -> None:
    x = make_recording(5000, 2)
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(20000)
        file.writeframes(x.tobytes())
    x.tofile(tmp_path / "x.dat")
    np.save(tmp_path / "x.npy", x)
    for name in ("x.wav", "x.npy"):
        source, back = tmp_path / name, tmp_path / f"back-{name}"
        compress_file(source, tmp_path / "x.lnn", max_error=3, overwrite=True)
        with open_archive(tmp_path / "x.lnn") as archive:
            assert archive.header.facts["max_error"] == 3
            restore_file(archive, back)
        head = source.stat().st_size - x.nbytes
        assert back.read_bytes()[:head] == source.read_bytes()[:head]
        assert_near(x, np.frombuffer(back.read_bytes()[head:], "<i2").reshape(x.shape), 3)


@pytest.mark.parametrize("bound", [1, 5])
def test_clipped_samples_of_narrow_files_stay_near(bound: int, tmp_path: Path) -> None:
    """A value that moved beyond 24 bits would come back at the other end of the range."""
    x = np.random.default_rng(0).integers(-(1 << 24), 1 << 24, (3000, 2)).clip(-(1 << 23), (1 << 23) - 1)
    data = x.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(3)
        file.setframerate(20000)
        file.writeframes(data)
    compress_file(tmp_path / "x.wav", tmp_path / "x.lnn", max_error=bound)
    with open_archive(tmp_path / "x.lnn") as archive:
        restore_file(archive, tmp_path / "back.wav")
    with wave.open(str(tmp_path / "back.wav"), "rb") as file:
        restored = np.frombuffer(file.readframes(len(x)), np.uint8).reshape(-1, 3)
    near = (np.pad(restored, ((0, 0), (1, 0))).view("<i4") >> 8).reshape(x.shape)
    assert not np.array_equal(near, x)
    assert_near(x.astype("<i4"), near, bound)


@pytest.mark.parametrize(("step", "bound"), [(1, 0.5), (16, 2)])
def test_an_archive_is_exact_where_the_bound_leaves_no_choice(
    step: int, bound: float, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", (make_recording(5000, 2).clip(-1000, 1000) * step).astype("int16"))
    report = compress_file(tmp_path / "x.npy", tmp_path / "x.lnn", max_error=bound)
    assert report.notes == (f"kept exact: {bound:g} is too little for any value to be moved",)
    compress_file(tmp_path / "x.npy", tmp_path / "exact.lnn")
    assert (tmp_path / "x.lnn").read_bytes() == (tmp_path / "exact.lnn").read_bytes()


def test_what_is_no_samples_stays_exact(tmp_path: Path) -> None:
    """Text, what is broken, what is only guessed to be int16, and long stretches around samples."""
    folder = tmp_path / "day"
    folder.mkdir()
    (folder / "events.csv").write_text("time,event\n1.0,stim\n" * 40)
    (folder / "broken.npy").write_bytes(np.random.default_rng(0).bytes(3000))
    make_recording(5000, 2).tofile(folder / "guessed.dat")
    run_command_line("compress", "-r", "--all", "day", "--max-error", "2", "-o", "packed", cwd=tmp_path)
    run_command_line("verify", "-r", "packed", "--against", "day", cwd=tmp_path)
    with open_archive(tmp_path / "packed" / "events.csv.lnn") as archive:
        assert "max_error" not in archive.header.facts

    x, text = make_recording(5000, 2), b"<notes>all is well</notes>" * 4000
    np.save(tmp_path / "x.npy", x)
    with open(tmp_path / "x.npy", "ab") as file:
        file.write(text)
    compress_file(tmp_path / "x.npy", tmp_path / "x.lnn", max_error=3)
    with open_archive(tmp_path / "x.lnn") as archive:
        restore_file(archive, tmp_path / "back.npy")
    assert_near(x, np.load(tmp_path / "back.npy"), 3)
    assert (tmp_path / "back.npy").read_bytes().endswith(text)


@pytest.mark.parametrize(
    ("meta", "words"), [("snsApLfSy=3,0,1", 1), ("snsMnMaXaDw=0,0,2,2", 2), ("snsXaDwSy=1,2,1", 3)]
)
def test_sync_words_stay_exact(meta: str, words: int, tmp_path: Path) -> None:
    x = make_recording(5000, 4)
    x[:, -words:] = 64 * (np.arange(5000)[:, None] // 700 % 2)
    x.tofile(tmp_path / "run.bin")
    (tmp_path / "run.meta").write_text(f"nSavedChans=4\n{meta}\n")
    report = compress_file(tmp_path / "run.bin", tmp_path / "x.lnn", max_error=3)
    assert report.notes[-1].startswith(
        f"kept exact: the last {'column' if words == 1 else f'{words} columns'},"
    )
    with open_archive(tmp_path / "x.lnn") as archive:
        near = archive[:]
    assert_near(x, near, 3)
    assert not np.array_equal(near[:, :-words], x[:, :-words])
    assert np.array_equal(near[:, -words:], x[:, -words:])


def test_plain_bytes_have_no_values_to_move(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("rat 7")
    with pytest.raises(AssertionError, match="--as-bytes"):
        run_command_line("compress", "x.txt", "--as-bytes", "--max-error", "2", cwd=tmp_path)


def test_files_whose_values_are_out_of_reach_say_so(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=make_recording(3000, 2))
    with pytest.raises(RecordingError, match=r"x\.npz.*compressed"):
        compress_file(tmp_path / "x.npz", tmp_path / "x.lnn", max_error=3)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_the_command_line_says_it_is_not_exact(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_recording(3000, 2))
    moved = "not the original: values were moved, by at most 2"
    assert moved in run_command_line("compress", "x.npy", "--max-error", "2", cwd=tmp_path)
    said = run_command_line("inspect", "x.npy.lnn", cwd=tmp_path)
    assert "NOT EXACT  values were moved, by at most 2" in said
    assert moved in run_command_line("verify", "x.npy.lnn", cwd=tmp_path)
    assert moved in run_command_line("decompress", "x.npy.lnn", "-o", "back", cwd=tmp_path)
    with pytest.raises(AssertionError, match=f"differs.*{moved}"):
        run_command_line("verify", "x.npy.lnn", "--against", "x.npy", cwd=tmp_path)
    with pytest.raises(AssertionError, match="--rm and --max-error"):
        run_command_line("compress", "x.npy", "-f", "--rm", "--max-error", "2", cwd=tmp_path)
    assert (tmp_path / "x.npy").exists()


def test_the_command_line_shows_what_it_would_save(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    np.save(tmp_path / "x.npy", make_recording(2000, 2) * np.int16(8))
    said = run_command_line("bench", "x.npy", "--rate-distortion", "--csv", "-o", "x.png", cwd=tmp_path)
    rows = [line.split(",") for line in said.splitlines() if line.startswith("losslessnn")]
    bits, errors = [float(row[1]) for row in rows], [float(row[2]) for row in rows]
    assert errors[:4] == [0, 8, 16, 24]
    assert bits == sorted(bits, reverse=True)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("more", [[], ["--rate-distortion"]])
def test_a_picture_without_what_draws_it_is_refused_at_once(more: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", make_recording(500, 2))
    program = "import sys; sys.modules['matplotlib'] = None; from losslessnn.cli import main; main()"
    call = [sys.executable, "-c", program, "bench", "x.npy", *more, "-o", "x.png"]
    done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'losslessnn[bench]'" in done.stderr
    assert not done.stdout
