"""MATLAB's files, in which a few values are looked up: whole ones, damaged and hostile ones."""

from __future__ import annotations

import contextlib
import io
import random
import struct
import zlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from losslessnn import RecordingError
from losslessnn.recordings import matlab
from losslessnn.recordings.matlab import Found, Numbers, look_up

FIELDS: dict[str, Any] = {
    "setname": "a set",
    "nbchan": 6.0,
    "trials": 10.0,
    "pnts": 300.0,
    "srate": 250.0,
    "times": np.arange(40.0),
    "data": "s1.fdt",
    "icaact": np.zeros((0, 0)),
    "saved": "yes",
}
WANTED = ("nbchan", "pnts", "trials", "srate", "data")
TRUE = {name: FIELDS[name] for name in WANTED}
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15
TYPES = {"i1": 1, "u1": 2, "i2": 3, "u2": 4, "i4": 5, "u4": 6, "f4": 7, "f8": 9, "i8": 12, "u8": 13}
CLASSES = {"i1": 8, "u1": 9, "i2": 10, "u2": 11, "i4": 12, "u4": 13, "f4": 7, "f8": 6, "i8": 14, "u8": 15}
STRUCT, CHAR = 2, 4


class MatFile:
    """MATLAB's format of Level 5, written the plain way.

    Attributes
    ----------
    order : {"<", ">"}
    small : bool
        Whether data of up to four bytes are put into their tag, as MATLAB does.
    """

    def __init__(self, order: str = "<", small: bool = True) -> None:
        self.order = order
        self.small = small

    def element(self, kind: int, data: bytes) -> bytes:
        if self.small and 0 < len(data) <= 4:
            return struct.pack(f"{self.order}I", len(data) << 16 | kind) + data.ljust(4, b"\0")
        return struct.pack(f"{self.order}II", kind, len(data)) + data + bytes(-len(data) % 8)

    def matrix(self, name: str, kind: int, shape: tuple[int, ...], *elements: bytes) -> bytes:
        head = (
            self.element(UINT32, struct.pack(f"{self.order}II", kind, 0)),
            self.element(INT32, struct.pack(f"{self.order}{len(shape)}i", *shape)),
            self.element(INT8, name.encode()),
        )
        return self.element(MATRIX, b"".join(head + elements))

    def number(self, name: str, value: float, stored: str = "f8", kind: str = "f8") -> bytes:
        data = np.array(value, self.order + stored).tobytes()
        return self.matrix(name, CLASSES[kind], (1, 1), self.element(TYPES[stored], data))

    def text(self, name: str, value: str, kind: int = 4, encoding: str = "utf-16") -> bytes:
        if encoding in ("utf-16", "utf-32"):
            encoding += "-le" if self.order == "<" else "-be"
        return self.matrix(name, CHAR, (1, len(value)), self.element(kind, value.encode(encoding)))

    def variable(self, name: str, value: Any) -> bytes:
        if isinstance(value, str):
            return self.text(name, value)
        if isinstance(value, float):
            return self.number(name, value, "u1" if value in range(256) else "f8")
        value = np.atleast_2d(value)
        return self.array(name, value, value.dtype.str[1:])

    def array(self, name: str, value: np.ndarray, kind: str) -> bytes:
        """An array that is of one class and stored as another type, as MATLAB does with whole numbers."""
        data = value.astype(value.dtype.newbyteorder(self.order)).tobytes(order="F")
        stored = TYPES[value.dtype.str[1:]]
        return self.matrix(name, CLASSES[kind], value.shape, self.element(stored, data))

    def struct(self, name: str, fields: dict[str, bytes], shape: tuple[int, ...] = (1, 1)) -> bytes:
        names = b"".join(field.encode().ljust(32, b"\0") for field in fields)
        length = self.element(INT32, struct.pack(f"{self.order}i", 32))
        return self.matrix(name, STRUCT, shape, length, self.element(INT8, names), *fields.values())

    def compressed(self, variable: bytes) -> bytes:
        data = zlib.compress(variable)
        return struct.pack(f"{self.order}II", COMPRESSED, len(data)) + data

    def file(self, *variables: bytes) -> bytes:
        version = struct.pack(f"{self.order}HH", 0x0100, int.from_bytes(b"MI"))
        return b"MATLAB 5.0 MAT-file, made for a test".ljust(124) + version + b"".join(variables)

    def dataset(self, fields: dict[str, Any], flat: bool = False, compress: bool = False) -> bytes:
        """A ``.set``."""
        each = {
            name: self.variable(name if flat else "", value) if not isinstance(value, bytes) else value
            for name, value in fields.items()
        }
        variables = list(each.values()) if flat else [self.struct("EEG", each)]
        return self.file(*(self.compressed(one) if compress else one for one in variables))


def hdf5_dataset(fields: dict[str, Any], flat: bool = False) -> bytes:
    """A ``.set`` as MATLAB writes version 7.3."""
    h5py = pytest.importorskip("h5py")
    made = io.BytesIO()
    with h5py.File(made, "w", userblock_size=512) as file:
        group = file if flat else file.create_group("EEG")
        for name, value in fields.items():
            text = isinstance(value, str)
            words = np.frombuffer(value.encode("utf-16-le"), "<u2")[:, None] if text else np.atleast_2d(value)
            dset = group.create_dataset(name, data=words if words.size else np.zeros(2, "u8"))
            dset.attrs["MATLAB_class"] = np.bytes_("char" if text else "double")
            if not words.size:
                dset.attrs["MATLAB_empty"] = np.uint8(1)
    return b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + made.getvalue()[128:]


def looked_up(content: bytes, names: tuple[str, ...] = WANTED) -> dict[str, Found]:
    found = look_up(io.BytesIO(content), names, "EEG")
    for value in found.values():
        if isinstance(value, Numbers):  # whatever a file says, they are in it
            assert 128 < value.start < value.start + value.length <= len(content)
    return found


def numbers_in(content: bytes, name: str = "x") -> np.ndarray | None:
    """An array, taken from where it is said to lie; None if it is not said."""
    numbers = looked_up(content, (name,))[name]
    if numbers is None:
        return None
    assert isinstance(numbers, Numbers)
    data = content[numbers.start : numbers.start + numbers.length]
    return np.frombuffer(data, numbers.dtype).reshape(numbers.shape, order="F")


FILES = {
    "as it is": lambda: MatFile().dataset(FIELDS),
    "compressed": lambda: MatFile().dataset(FIELDS, compress=True),
    "flat": lambda: MatFile().dataset(FIELDS, flat=True),
    "flat, compressed": lambda: MatFile().dataset(FIELDS, flat=True, compress=True),
    "big-endian": lambda: MatFile(">").dataset(FIELDS),
    "big-endian, compressed": lambda: MatFile(">").dataset(FIELDS, compress=True),
    "no small elements": lambda: MatFile(small=False).dataset(FIELDS),
}


class TestMatlab:
    @pytest.mark.parametrize("how", FILES)
    def test_what_is_looked_up_is_found(self, how: str) -> None:
        content = FILES[how]()
        assert looked_up(content) == TRUE
        names = ("times", "icaact", "saved", "nothing")
        found = looked_up(content, names)
        times = found.pop("times")
        assert found == {"icaact": None, "saved": "yes"}
        assert isinstance(times, Numbers) != ("compressed" in how)

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("stored", TYPES)
    def test_numbers_of_every_type(self, order: str, stored: str) -> None:
        mat = MatFile(order)
        value = 100.0 if stored[0] == "u" else -100.0
        variables = [mat.number("x", value, stored, kind) for kind in ("f8", stored)]
        assert looked_up(mat.file(variables[0]), ("x",)) == {"x": value}
        assert looked_up(mat.file(variables[1]), ("x",)) == {"x": value}

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize(
        ("kind", "encoding"),
        [(4, "utf-16"), (17, "utf-16"), (18, "utf-32"), (16, "utf-8"), (1, "latin-1"), (2, "latin-1")],
    )
    def test_texts_of_every_type(self, order: str, kind: int, encoding: str) -> None:
        mat = MatFile(order)
        assert looked_up(mat.file(mat.text("x", "schön.fdt", kind, encoding)), ("x",)) == {"x": "schön.fdt"}

    def test_what_is_neither_number_nor_line_is_none(self) -> None:
        mat = MatFile()
        element = mat.element(9, bytes(8))
        others = {
            "none": mat.variable("none", np.zeros((2, 0))),
            "complex": mat.matrix("complex", 6 | 0x0800, (1, 1), element, element),
            "lines": mat.matrix("lines", CHAR, (2, 1), mat.element(4, b"a\0b\0")),
            "struct": mat.struct("struct", {"x": mat.number("", 1.0)}),
            "empty": mat.element(MATRIX, b""),
        }
        assert looked_up(mat.file(*others.values()), tuple(others)) == dict.fromkeys(list(others)[:-1])
        assert looked_up(mat.file(mat.matrix("x", CHAR, (0, 0))), ("x",)) == {"x": ""}

    def test_what_is_of_a_kind_that_nobody_described_is_passed_over(self) -> None:
        mat = MatFile()
        handle = mat.element(MATRIX, mat.element(UINT32, struct.pack("<II", 17, 0)) + b"whatever" * 3)
        later = mat.element(99, b"something new")
        twice = mat.struct("EEG", {"x": mat.number("", 1.0)}, (1, 2))
        assert looked_up(mat.file(handle, later, twice, mat.number("x", 3.0)), ("x",)) == {"x": 3.0}

    def test_nothing_is_read_behind_the_last_of_them(self) -> None:
        mat = MatFile()
        found = mat.dataset(TRUE, flat=True)
        assert looked_up(found + b"not of MATLAB's making") == TRUE
        with pytest.raises(RecordingError, match="ends early"):
            looked_up(found + b"not of MATLAB's making", (*WANTED, "more"))

    @pytest.mark.parametrize("compress", [False, True])
    def test_only_so_much_is_inflated(self, compress: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(matlab, "_MOST_INFLATED", 1 << 20)
        content = MatFile().dataset({"zeros": np.zeros(1 << 18)} | FIELDS, compress=compress)
        if compress:
            with pytest.raises(RecordingError, match="not in the first 1 MiB inflated"):
                looked_up(content)
        else:
            assert looked_up(content) == TRUE
        flat = MatFile().dataset({"zeros": np.zeros(1 << 18)} | FIELDS, flat=True, compress=compress)
        assert looked_up(flat) == TRUE  # its name is all that is read of the array

    def test_only_so_many_variables_are_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(matlab, "_MOST_VARIABLES", 3)
        with pytest.raises(RecordingError, match="first 3 variables"):
            looked_up(FILES["flat"]())

    @pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", bytes(600), FILES["as it is"]()[:127]])
    def test_other_files(self, content: bytes) -> None:
        with pytest.raises(RecordingError, match="is not a"):
            looked_up(content)

    @pytest.mark.parametrize("how", FILES)
    def test_truncated_anywhere_it_is_refused_or_read(self, how: str) -> None:
        content = FILES[how]()
        found = [self.outcome(content[:length]) for length in range(len(content))]
        assert found[-1] is None or found[-1] == TRUE
        assert all(before is None or before.items() <= TRUE.items() for before in found)

    @pytest.mark.parametrize("how", FILES)
    def test_whatever_the_bytes_the_outcome_is_values_or_our_error(self, how: str) -> None:
        content = FILES[how]()
        refused = 0
        for at in range(len(content)):
            for byte in {0, 1, 0x7F, 0x80, 0xFF, content[at] ^ 1, content[at] + 1 & 0xFF}:
                refused += self.outcome(content[:at] + bytes([byte]) + content[at + 1 :]) is None
        assert refused > 100

    @pytest.mark.parametrize("how", FILES)
    def test_however_many_bytes_are_altered(self, how: str) -> None:
        content, dice = FILES[how](), random.Random(how)
        inside = zlib.decompress(content[136:]) if how == "compressed" else None
        for _ in range(2000):
            altered = bytearray(inside or content)
            for _ in range(dice.choice([1, 2, 9])):
                at = dice.randrange(0 if inside else 128, len(altered))
                altered[at] = dice.choice([0, 1, 4, 8, 14, 15, 0x7F, 0x80, 0xFF, dice.randrange(256)])
            whole = MatFile().file(MatFile().compressed(bytes(altered))) if inside else bytes(altered)
            self.outcome(whole)

    @staticmethod
    def outcome(content: bytes) -> dict[str, Found] | None:
        """What is found; None if it is refused."""
        try:
            found = looked_up(content)
        except RecordingError:
            return None
        assert set(found) <= set(WANTED)
        assert all(value is None or isinstance(value, (float, str, Numbers)) for value in found.values())
        return found


class TestNumbers:
    """Where arrays lie in the file."""

    @pytest.mark.parametrize("order", ["<", ">"])
    @pytest.mark.parametrize("stored", TYPES)
    @pytest.mark.parametrize("shape", [(2, 3), (3, 50, 4), (1, 9), (9, 1), (1, 1, 9)])
    def test_they_are_where_it_is_said(self, order: str, stored: str, shape: tuple[int, ...]) -> None:
        mat = MatFile(order)
        array = np.arange(np.prod(shape)).astype(stored).reshape(shape)
        for kind in ("f8", stored):
            variable = mat.array("x", array, kind)
            field = mat.struct("EEG", {"y": mat.text("", "before"), "x": mat.array("", array, kind)})
            for content in (mat.file(mat.variable("y", "before"), variable), mat.file(field)):
                found = numbers_in(content)
                assert found is not None
                assert found.dtype == np.dtype(order + stored)
                assert np.array_equal(found, array)

    def test_only_if_the_file_has_them_as_they_are(self) -> None:
        mat = MatFile()
        short = mat.variable("x", np.arange(4, dtype="i1"))  # which is in the tag of its data element
        long = mat.variable("x", np.arange(9, dtype="i1"))
        assert numbers_in(mat.file(long)) is not None
        assert numbers_in(mat.file(short)) is None
        assert numbers_in(mat.file(mat.compressed(long))) is None
        field = mat.struct("EEG", {"x": mat.variable("", np.arange(9.0))})
        assert numbers_in(mat.file(mat.compressed(field))) is None

    @pytest.mark.parametrize(
        ("kind", "shape", "element"),
        [
            (6, (2, 3), (9, bytes(40))),
            (6, (2, 3), (9, bytes(56))),
            (6, (2, 3), (7, bytes(48))),
            (6, (2**31 - 1,) * 64, (9, bytes(48))),
            (6, (2, 3), (8, bytes(48))),
            (6, (2, 3), (14, bytes(48))),
            (6, (0, 3), (9, b"")),
            (6 | 0x0800, (2, 3), (9, bytes(48))),
            (5, (2, 3), (9, bytes(48))),
            (CHAR, (2, 3), (4, bytes(12))),
        ],
    )
    def test_only_if_they_are_as_many_as_stated(
        self, kind: int, shape: tuple[int, ...], element: tuple[int, bytes]
    ) -> None:
        mat = MatFile()
        assert numbers_in(mat.file(mat.matrix("x", kind, shape, mat.element(*element)))) is None
        assert numbers_in(mat.file(mat.matrix("x", kind, shape))) is None

    @pytest.mark.parametrize("flat", [False, True])
    def test_lengths_that_lead_out_of_the_file_are_refused(self, flat: bool) -> None:
        content = MatFile().dataset({"x": np.arange(9.0)}, flat)
        at = content.rindex(struct.pack("<II", 9, 72)) + 4
        for length in (80, 1 << 31, 0xFFFFFFFF):
            with pytest.raises(RecordingError, match="ends early"):
                looked_up(content[:at] + struct.pack("<I", length) + content[at + 4 :], ("x",))
        for end in range(128, len(content)):
            with contextlib.suppress(RecordingError):
                assert looked_up(content[:end], ("x",)) == {}

    @pytest.mark.parametrize("how", ["as it is", "flat", "big-endian"])
    def test_whatever_the_bytes_they_are_in_the_file(self, how: str) -> None:
        content, moved = FILES[how](), 0
        names = ("times", "icaact", "data")
        whole = looked_up(content, names)
        for at in range(len(content)):
            for byte in {0, 1, 2, 0x7F, 0x80, 0xFF, content[at] ^ 1, content[at] + 1 & 0xFF}:
                altered = content[:at] + bytes([byte]) + content[at + 1 :]
                with contextlib.suppress(RecordingError):
                    moved += looked_up(altered, names) != whole
        assert moved > 100


class TestMatlabHdf5:
    @pytest.mark.parametrize("flat", [False, True])
    def test_what_is_looked_up_is_found(self, flat: bool) -> None:
        assert looked_up(hdf5_dataset(FIELDS | {"saved": ""}, flat)) == TRUE
        names = ("times", "icaact", "saved", "nothing")
        assert looked_up(hdf5_dataset(FIELDS | {"saved": ""}, flat), names) == {
            "times": None,
            "icaact": None,
            "saved": "",
        }

    def test_other_files_are_not_looked_at(self, tmp_path: Path) -> None:
        h5py = pytest.importorskip("h5py")
        (tmp_path / "secret.bin").write_bytes(np.float64(6).tobytes())
        with h5py.File(tmp_path / "other.h5", "w") as other:
            other["pnts"] = np.array([[1.0]])
        with h5py.File(tmp_path / "x.set", "w") as file:
            file["srate"] = np.array([[250.0]])
            file.create_dataset("nbchan", (1, 1), "<f8", external=[(str(tmp_path / "secret.bin"), 0, 8)])
            file["pnts"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "pnts")
            file["trials"] = h5py.SoftLink("/srate")
            layout = h5py.VirtualLayout((1, 1), "<f8")
            layout[...] = h5py.VirtualSource(str(tmp_path / "other.h5"), "pnts", (1, 1))
            file.create_virtual_dataset("data", layout)
        content = (tmp_path / "x.set").read_bytes()
        assert looked_up(content) == {"srate": 250.0, "nbchan": None, "data": None}

    def test_whatever_the_bytes_the_outcome_is_values_or_our_error(self) -> None:
        content, dice = hdf5_dataset(FIELDS), random.Random(0)
        for _ in range(300):
            altered = bytearray(content)
            for _ in range(dice.choice([1, 2, 9])):
                altered[dice.randrange(512, len(altered))] = dice.choice([0, 0xFF, dice.randrange(256)])
            TestMatlab.outcome(bytes(altered[: dice.choice([len(altered), dice.randrange(len(altered))])]))


def test_the_builder_of_these_files_writes_what_is_described() -> None:
    """As in the format's document: elements begin at multiples of eight bytes, small ones have eight."""
    mat = MatFile()
    elements = [mat.element(1, bytes(range(length))) for length in range(20)]
    assert [len(element) for element in elements[:6]] == [8, 8, 8, 8, 8, 16]
    assert all(len(element) % 8 == 0 for element in elements)
    assert all(before != after for before, after in pairwise(elements))
