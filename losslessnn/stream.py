"""The door for live recordings: packets of a few milliseconds, each going on from the ones before it.

A frame stands alone, and a short one has nothing to learn from. Packets of a stream share what both ends
remember: the samples before, how loud every channel is, and what the adaptive stage has learned. Now and then
a key packet begins anew, so that a receiver can join, or go on after a packet was lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import DTypeLike

from losslessnn import lattice
from losslessnn.chunk import as_array
from losslessnn.errors import (
    CorruptFrameError,
    LostPacketError,
    MissingModelError,
    ModelError,
    NewerFormatError,
    UnknownProfileError,
)
from losslessnn.lattice import Lattice
from losslessnn.lattice.common import ordered_of
from losslessnn.models import side
from losslessnn.models.autoregressive.decoder import Decoder, refuse_endless
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel
from losslessnn.models.blocks import Codes
from losslessnn.models.encoding import CODE_LIMIT
from losslessnn.models.packets import Baseline, PacketEncoder, start_model
from losslessnn.models.store import ID_BYTES, Model, Profile, choose_model, find, remember
from losslessnn.wire import Reader, pack_sized, pack_varint

LONGEST_PACKET = 1 << 10
"""Time steps; more make a chunk."""

VERSION = 1
_PACKET, _KEY, _LEFTOVER = 0xB0, 1, 2  # a packet's first byte, and what may be added to it
_CHECKSUM_MASK = (1 << 31) - 1
_DTYPES = tuple(map(np.dtype, ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")))
_KEPT = lattice.DifferenceLattice(1, 0)
_AS_THEY_ARE = lattice.IntegerLattice(lattice.Axis.NONE, np.ones(1, np.int64), np.zeros(1, np.int64))


class StreamEncoder:
    """Encodes a live recording, packet by packet.

    Parameters
    ----------
    model : Profile, str or path-like
        A profile that :func:`losslessnn.fit` made of a recording of the same device, its file, its name, or
        the first digits of its id. Receivers need it, too.
    dtype : dtype_like, optional
        What the samples are: integers of 8 to 64 bits, or reals of 16 to 64. Default int16. The converter's
        own integers are best; of others the profile remembers the lattice they lay on.
    key_every : int, optional
        Every so many packets there is a key packet, which needs none of those before. Such a packet is
        some 10 to 20 % larger. Default 256: a quarter of a second, if packets are a millisecond long.

    Raises
    ------
    TypeError
        If `dtype` is not one of these, or the model is not a profile but the name of a family.
    ValueError
        If `key_every` is below 1.
    MissingModelError, ModelError
        If the profile is not found, damaged, or holds a model with latents.

    Notes
    -----
    An encoder belongs to one stream: it may not be shared. Each packet says where it belongs in the stream
    and carries a CRC32C of itself and of the samples, which the receiver checks.

    See Also
    --------
    StreamDecoder : the way back.
    losslessnn.compress : for chunks that stand alone.

    Examples
    --------
    >>> import numpy as np
    >>> import losslessnn
    >>> time = np.arange(20_000)[:, None]
    >>> recording = (900 * np.sin(time / 50 + np.arange(4))).astype("int16")
    >>> profile = losslessnn.fit(recording[:10_000], quick=True)
    >>> sender, receiver = losslessnn.StreamEncoder(profile), losslessnn.StreamDecoder()
    >>> for begin in range(10_000, 20_000, 30):
    ...     samples = recording[begin:begin + 30]
    ...     assert np.array_equal(receiver.decode(sender.encode(samples)), samples)
    """

    def __init__(self, model: Model, dtype: DTypeLike = np.int16, key_every: int = 256) -> None:
        self._profile = _profile(model)
        self.dtype = np.dtype(dtype).newbyteorder("<")
        if self.dtype not in _DTYPES:
            raise TypeError(
                f"streams are of integers or reals of up to 64 bits, not {self.dtype}: "
                "send the converter's own integers, or frames (losslessnn.compress)"
            )
        if key_every < 1:
            raise ValueError(f"key_every must be 1 or more, not {key_every}")
        self.channels = self._profile.channels
        self.key_every = key_every
        self._encoder: PacketEncoder | None = None
        self._grid: Lattice | None = None
        self._baseline = Baseline()
        self._range = range(0)  # of codes that the model of the last key packet holds
        self._number = self._since_key = 0

    def encode(self, samples: Any) -> bytes:
        """Encode the next samples.

        Parameters
        ----------
        samples : (time, channels) array_like
            1 to 1024 time steps, which follow those of the last call.

        Returns
        -------
        packet : bytes
            To be decoded by :class:`StreamDecoder`, in order.

        Raises
        ------
        TypeError
            If they are of another dtype than the stream.
        ValueError
            If they are too many or none, or of another number of channels than the profile.
        """
        array = self._checked(samples)
        going_on = self._grid is not None and self._encoder is not None and self._since_key < self.key_every
        found = _on(self._grid, array) if going_on else None
        kind, key = _PACKET, b""
        if found is None or not _inside(found[0], self._range):
            found, key = self._begin_anew(array)
            kind |= _KEY
        codes, leftover = found
        kind |= _LEFTOVER if leftover else 0
        encoder = self._encoder
        assert encoder is not None
        self._encoder = None  # until all is well: whoever is interrupted here begins anew with a key packet
        block = encoder.code(codes.T)
        self._baseline.follow(codes.T)
        place = pack_varint(self._number) + pack_varint(len(array))
        lists = (pack_sized(leftover) if leftover else b"") + pack_sized(block.raw.tobytes())
        fields = bytes([kind]) + place + key + lists
        packet = b"".join([fields, encoder.push(block, _checksum(array, fields))])
        self._number += 1
        self._since_key += 1
        self._encoder = encoder
        return packet

    def request_key(self) -> None:
        """Let the next packet be a key packet: a receiver has joined, or lost one.

        See :class:`StreamDecoder` for an example.
        """
        self._encoder = None

    def _checked(self, samples: Any) -> np.ndarray[Any, Any]:
        array = as_array(samples)
        if array.dtype.newbyteorder("<") != self.dtype:
            raise TypeError(f"the stream is of {self.dtype}, these samples are {array.dtype}")
        if array.ndim != 2 or array.shape[1] != self.channels:
            raise ValueError(
                f"samples must be (time, {self.channels}) as the profile's, not of shape {array.shape}"
            )
        if not 1 <= len(array) <= LONGEST_PACKET:
            raise ValueError(
                f"a packet has 1 to {LONGEST_PACKET} time steps, not {len(array)}: "
                "longer stretches are chunks, for losslessnn.compress"
            )
        return np.ascontiguousarray(array, self.dtype)

    def _begin_anew(self, array: np.ndarray[Any, Any]) -> tuple[tuple[Codes, bytes], bytes]:
        """Codes and leftover of a key packet's samples, and its own fields."""
        for grid in self._lattices(array):
            found = None if grid is None else _on(grid, array)
            if grid is None or found is None:
                continue
            packed, last = lattice.pack_lattice(grid), self._grid
            known = last is not None and packed == lattice.pack_lattice(last)
            baseline = self._baseline if known else Baseline()  # codes are other ones now
            start = self._fit_start(found[0].T, baseline)
            if start is not None:
                self._grid, self._baseline = grid, baseline
                break
        else:  # nothing but gaps, or further off than models reckon: a stream must not end for that
            packed, found = lattice.pack_lattice(_KEPT), _KEPT.keep(array)
            start = self._fit_start(found[0].T, Baseline())
            self._grid = None  # the next packet begins anew
        assert start is not None
        model, said = start
        self._encoder = PacketEncoder(model, LONGEST_PACKET)
        self._range = range(model.positions.low, model.positions.high + 1)
        self._since_key = 0
        head = bytes([VERSION, _DTYPES.index(self.dtype)]) + self._profile.digest[:ID_BYTES]
        return found, head + pack_sized(packed) + pack_sized(said)

    def _lattices(self, array: np.ndarray[Any, Any]) -> Iterator[Lattice | None]:
        """Lattices to try: the profile's, the one in use, and what would do for these samples.

        Last of all from the first sample on, where that is further off than models reckon.
        """
        yield self._profile.lattice_for(self.dtype)
        yield self._grid
        if self.dtype.kind != "f":
            yield _AS_THEY_ARE
        fitted = lattice.fit(array)
        yield fitted
        if isinstance(fitted, lattice.IntegerLattice) and fitted.axis is lattice.Axis.NONE:
            yield lattice.IntegerLattice(lattice.Axis.NONE, fitted.steps, ordered_of(array[:1, 0]))

    def _fit_start(self, codes: Codes, baseline: Baseline) -> tuple[AutoregressiveModel, bytes] | None:
        """The profile's model, ready for these codes and for some that are further off, and its own part.

        None if it cannot hold them.
        """
        base, low, high = self._profile.base, int(codes.min()), int(codes.max())
        most = 2 * (high - low) + 64
        for headroom in (*(most >> shift for shift in range(0, most.bit_length(), 2)), 0):
            limits = max(low - headroom, 1 - CODE_LIMIT), min(high + headroom, CODE_LIMIT - 1)
            try:
                model = start_model(base, codes, limits, baseline)
            except CorruptFrameError:  # so far kernels cannot reckon
                continue
            said = side.pack_difference(model)
            return side.unpack_difference(said, base), said
        return None


class StreamDecoder:
    """Decodes the packets of a :class:`StreamEncoder`, in their order.

    Parameters
    ----------
    model : Profile, str or path-like, optional
        The sender's profile. Not needed if it is on the search path, or known to this process.

    Raises
    ------
    TypeError
        If the model is not a profile but the name of a family.
    MissingModelError, ModelError
        If the profile is not found, damaged, or holds a model with latents.

    Examples
    --------
    A receiver that joins late waits for a key packet:

    >>> import numpy as np
    >>> import losslessnn
    >>> recording = np.random.default_rng(0).normal(0, 20, (9000, 2)).astype("int16")
    >>> sender = losslessnn.StreamEncoder(losslessnn.fit(recording, quick=True))
    >>> packets = [sender.encode(recording[:100]), sender.encode(recording[100:200])]
    >>> sender.request_key()
    >>> packets.append(sender.encode(recording[200:300]))
    >>> receiver = losslessnn.StreamDecoder()
    >>> for packet in packets[1:]:
    ...     try:
    ...         print(receiver.decode(packet).shape)
    ...     except losslessnn.LostPacketError as error:
    ...         print(error)
    packet 1 goes on from packet 0, which is not here: wait for a key packet (StreamEncoder.request_key)
    (100, 2)
    """

    def __init__(self, model: Model | None = None) -> None:
        if model is not None:
            remember(_profile(model))
        self._receiving: _Receiving | None = None
        self._next = 0

    @property
    def number(self) -> int | None:
        """Number of the packet decoded last, the sender's first being 0; None if there was none.

        A key packet is decoded whatever was lost, or sent twice, before it: this tells.
        """
        return self._next - 1 if self._next else None

    def decode(self, packet: bytes | bytearray | memoryview) -> np.ndarray[Any, Any]:
        """Decode the next packet.

        Parameters
        ----------
        packet : bytes-like

        Returns
        -------
        samples : (time, channels) numpy.ndarray
            Those that the sender was given, in little-endian byte order.

        Notes
        -----
        A packet that ends in an error, whichever, leaves the decoder as it was. The same one decodes when it
        comes again unharmed; without it, decoding goes on with the next key packet.

        Raises
        ------
        LostPacketError
            If packets are missing between the last one and this one. Should they arrive after all, decoding
            goes on with the first of them; if not, with the next key packet. Also if this packet is older
            than the last one and no key packet; then decoding goes on.
        CorruptFrameError
            If the bytes are not what an encoder wrote.
        NewerFormatError
            If a newer losslessnn wrote them.
        MissingModelError
            If the sender's profile is not at hand. As altered bytes may name another one, this error is a
            CorruptFrameError, too.
        """
        view = memoryview(packet).cast("B")
        reader = Reader(view, "packet")
        kind = reader.byte() ^ _PACKET
        if kind & ~(_KEY | _LEFTOVER):
            raise CorruptFrameError("these bytes are no packet of a stream")
        number, n_times = reader.varint(), reader.varint(LONGEST_PACKET)
        if n_times == 0:
            raise CorruptFrameError("packet holds nothing")
        if kind & _KEY:
            now = _begin_anew(reader)
        elif self._receiving is None or number > self._next:
            raise LostPacketError(
                f"packet {number} goes on from packet {number - 1}, which is not here: wait for a key packet "
                "(StreamEncoder.request_key)"
            )
        elif number < self._next:
            raise LostPacketError(
                f"packet {number} comes twice, or too late: the last one here was packet {self.number}"
            )
        else:
            now = self._receiving
        leftover = reader.sized() if kind & _LEFTOVER else b""
        raw = reader.sized()
        content = _Content(view[: reader.position], leftover, raw, view[reader.position :], n_times)
        before, self._receiving = self._receiving, None  # whoever is interrupted here waits for a key packet
        try:
            with now.decoder.all_or_nothing():
                samples = now.samples_of(content)
        except Exception:
            self._receiving = before
            raise
        now.decoder.go_on(n_times)
        self._receiving, self._next = now, number + 1
        return samples


class _Content(NamedTuple):
    """What is in a packet."""

    fields: memoryview  # all but the words
    leftover: bytes | memoryview
    raw: memoryview
    words: memoryview
    n_times: int


class _Receiving(NamedTuple):
    """What a key packet says, and a decoder that has come to where the last packet ended."""

    dtype: np.dtype[Any]
    grid: Lattice
    model: AutoregressiveModel
    decoder: Decoder

    def samples_of(self, packet: _Content) -> np.ndarray[Any, Any]:
        """The samples of the next packet, if its checksum is theirs."""
        if len(packet.words) % 4:
            raise CorruptFrameError("packet is not a whole number of words")
        refuse_endless(packet.words, packet.raw, packet.n_times, self.model, NO_MARKS)
        codes = self.decoder.decode(packet.words, packet.raw, packet.n_times, by_time=True).T
        samples = lattice.decode(self.grid, codes, packet.leftover, self.dtype, codes.shape)
        if _checksum(samples, packet.fields) != self.decoder.seed:
            raise CorruptFrameError("packet does not decode to what was encoded: its bytes were altered")
        return samples


def _begin_anew(reader: Reader) -> _Receiving:
    """Read a key packet's own fields."""
    version, dtype = reader.byte(), reader.byte()
    if version > VERSION:
        raise NewerFormatError.of(f"packet has format version {version}")
    if version < 1 or dtype >= len(_DTYPES):
        raise CorruptFrameError("packet is of no version, or of no dtype, that there is")
    profile = _find(reader.take(ID_BYTES))
    _check_family(profile)
    grid = lattice.unpack_lattice(reader.sized())
    model = side.unpack_difference(reader.sized(), profile.base)
    return _Receiving(_DTYPES[dtype], grid, model, Decoder(model, LONGEST_PACKET))


def _find(digest: memoryview) -> Profile:
    try:
        return find(digest)
    except MissingModelError as missing:
        raise UnknownProfileError(
            f"{missing}. Or the packet was altered on its way: have it sent again"
        ) from None


def _profile(model: Model) -> Profile:
    chosen = choose_model(model)
    if not isinstance(chosen, Profile):
        raise TypeError(f"a stream needs a fitted profile (losslessnn.fit), not the family {chosen.value!r}")
    _check_family(chosen)
    return chosen


def _check_family(profile: Profile) -> None:
    if profile.latents is not None:
        raise ModelError("streams need an autoregressive profile, not one with latents")


def _on(grid: Lattice | None, array: np.ndarray[Any, Any]) -> tuple[Codes, bytes] | None:
    """Codes of samples and what these do not say, None if the samples are not on this lattice."""
    try:
        found = None if grid is None else grid.encode(array)
    except ValueError:  # it is off the lattice, or this is one of other channels
        return None
    return found if found is not None and _inside(found[0], range(1 - CODE_LIMIT, CODE_LIMIT)) else None


def _inside(codes: Codes, limits: range) -> bool:
    return int(codes.min()) in limits and int(codes.max()) in limits


def _checksum(samples: np.ndarray[Any, Any], fields: bytes | memoryview) -> int:
    """Of the CRC32C of the samples and of all that a packet says but its words, 31 bits."""
    crc = google_crc32c.value(samples.reshape(-1).view(np.uint8))
    return int(google_crc32c.extend(crc, bytes(fields))) & _CHECKSUM_MASK
