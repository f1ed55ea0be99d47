"""The door for live recordings: packets of a few milliseconds, each going on from the ones before it.

A frame stands alone, and a short one has nothing to learn from. Packets of a stream share what both ends
remember: the samples before, how loud every channel is, and what the adaptive stage has learned. Now and then
a key packet begins anew, so that a receiver can join, or go on after a packet was lost.
"""

from __future__ import annotations

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
from losslessnn.models import side
from losslessnn.models.autoregressive.decoder import Decoder, refuse_endless
from losslessnn.models.autoregressive.model import NO_MARKS, AutoregressiveModel
from losslessnn.models.blocks import Codes
from losslessnn.models.store import ID_BYTES, Model, Profile, choose_model, find, remember
from losslessnn.sending import Beginning, Coded, Key, Sending
from losslessnn.wire import Reader, pack_sized, pack_varint

LONGEST_PACKET = 1 << 10
"""Time steps; more make a chunk."""

_WHOLE, _WITHOUT_NETWORK = 1, 2  # versions of a key packet: until the next one, so much of the profile holds
VERSION = _WITHOUT_NETWORK
"""The newest."""
_PACKET, _KEY, _LEFTOVER = 0xB0, 1, 2  # a packet's first byte, and what may be added to it
_CHECKSUM_MASK = (1 << 31) - 1
_DTYPES = tuple(map(np.dtype, ("i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8")))
_JUMP = 0.25  # bits per sample above the usual, at which other ways are tried
_SLACK = 96  # bytes beyond the samples that a packet may take: a coder's states and more
_HEAD = 2 + ID_BYTES + 8  # bytes of a key packet, about, before its model
_CALMED = 1.0  # bits per sample below the last plain packets, at which a model is tried again
_PLAIN_AT_ONCE = 15  # plain packets that follow one that was smallest, before other ways are tried again
_CLEARLY_SAVED = 64  # bytes, or a sixteenth, without the network: less may be chance, and many packets follow
_FORGOTTEN = 1 / 32  # bits per sample by which the usual falls with every smaller packet


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
    network : bool, optional
        Whether to use the profile's network, if it has one. Without it packets are somewhat larger and take
        about half of the time: hundreds of channels at 30 kHz may need that to keep up. Default True.

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

    def __init__(
        self, model: Model, dtype: DTypeLike = np.int16, key_every: int = 256, network: bool = True
    ) -> None:
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
        base, grid = self._profile.base, self._profile.lattice_for(self.dtype)
        self._simpler: Beginning | None = None
        self._version = _WHOLE
        if base.has_network and network:
            self._simpler = Beginning(base.without_network(), grid, LONGEST_PACKET)
        elif base.has_network:
            base, self._version = base.without_network(), _WITHOUT_NETWORK
        self._beginning = Beginning(base, grid, LONGEST_PACKET)
        self._sending: Sending | None = None
        self._going_on = False
        self._steps = self._beginning.steps()
        self._usual: float | None = None  # bits per sample, of late
        self._plain_packets = 0  # that may follow before others are tried
        self._plain_bits = 0.0
        self._number = 0

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
        going_on, self._going_on = self._going_on, False  # whoever is interrupted here begins anew
        made = self._plain_again(array) or self._best(array, going_on)
        if self._usual is None or not (made.goes_on and made.key):  # key packets are larger
            self._usual = max(_bits(made, array), (self._usual or 0) - _FORGOTTEN)
        self._number += 1
        if made.goes_on:
            if made.sending is not self._sending:
                self._steps = self._beginning.steps()
            self._sending = made.sending
            self._going_on = made.sending.packets + 1 < self.key_every
            made.sending.go_on(made.codes)
        return made.packet

    def request_key(self) -> None:
        """Let the next packet be a key packet: a receiver has joined, or lost one.

        See :class:`StreamDecoder` for an example.
        """
        self._going_on = False

    def _checked(self, samples: Any) -> np.ndarray[Any, Any]:
        array = as_array(samples)
        if array.dtype.newbyteorder("<") != self.dtype:
            raise TypeError(f"the stream is of {self.dtype}, these samples are {array.dtype}")
        if array.ndim != 2 or array.shape[1] != self.channels:
            raise ValueError(
                f"samples must be (time, {self.channels}) as the profile's, not of shape {array.shape}"
            )
        if not 1 <= len(array) <= LONGEST_PACKET:
            longer = ": longer stretches are chunks, for losslessnn.compress" if len(array) else ""
            raise ValueError(f"a packet has 1 to {LONGEST_PACKET} time steps, not {len(array)}{longer}")
        return np.ascontiguousarray(array, self.dtype)

    def _go_on(self, array: np.ndarray[Any, Any]) -> _Made:
        """The packet that follows the last one; a key packet if it cannot."""
        sending = self._sending
        assert sending is not None
        coded = sending.codes_of(array)
        if coded is None:
            return self._begin_anew(array)
        step = self._steps.of(coded.codes)
        hint = self._steps.coarser(sending.grid, step) if step > 1 else None
        return self._begin_anew(array, hint) if hint is not None else self._write(array, sending, coded)

    def _begin_anew(self, array: np.ndarray[Any, Any], hint: Lattice | None = None) -> _Made:
        return self._write_key(array, self._beginning.key(array, self._sending, hint))

    def _best(self, array: np.ndarray[Any, Any], going_on: bool) -> _Made:
        """The packet that goes on; where that is large, the smallest up to one that is not."""
        made = self._go_on(array) if going_on else self._begin_anew(array)
        if self._is_large(made, array):
            made = min(made, self._fractional(array) or made, key=_size)
        if not made.key and self._is_large(made, array):
            made = min(made, self._begin_anew(array), key=_size)
        if self._is_large(made, array):
            simpler = self._without_network(array)
            saved = max(_CLEARLY_SAVED, _size(made) // 16)
            made = simpler if simpler and _size(simpler) + saved < _size(made) else made
        if self._exceeds(made, array) or (not made.key and self._is_large(made, array)):
            plain = self._plain(array)
            after = 0 if self._exceeds(made, array) else made.begins  # that the next packet will take more
            made = plain if _size(plain) + after < _size(made) else made
        self._plain_packets = 0 if made.goes_on else _PLAIN_AT_ONCE
        self._plain_bits = _bits(made, array)
        return made

    def _is_large(self, made: _Made, array: np.ndarray[Any, Any]) -> bool:
        """Whether there may be a better way: it is larger than usual, or than the samples."""
        return self._usual is None or _bits(made, array) > self._usual + _JUMP or self._exceeds(made, array)

    def _exceeds(self, made: _Made, array: np.ndarray[Any, Any]) -> bool:
        """Whether it is larger than the samples, apart from what a key packet says first."""
        return _size(made) > array.nbytes + _SLACK + (made.begins if made.key else 0)

    def _plain_again(self, array: np.ndarray[Any, Any]) -> _Made | None:
        """A plain packet, which takes less time, where one was smallest and this one is about as large."""
        if not self._plain_packets:
            return None
        self._plain_packets -= 1
        made = self._plain(array)
        return made if _bits(made, array) > self._plain_bits - _CALMED else None

    def _fractional(self, array: np.ndarray[Any, Any]) -> _Made | None:
        key = self._beginning.fractional(array, self._sending)
        return None if key is None else self._write_key(array, key)

    def _without_network(self, array: np.ndarray[Any, Any]) -> _Made | None:
        """A key packet without the network, which knows nothing of what it never saw."""
        if self._simpler is None:
            return None
        return self._write_key(array, self._simpler.key(array, self._sending, None), _WITHOUT_NETWORK)

    def _plain(self, array: np.ndarray[Any, Any]) -> _Made:
        return self._write_key(array, self._beginning.plain(array))._replace(goes_on=False)

    def _write_key(self, array: np.ndarray[Any, Any], key: Key, version: int | None = None) -> _Made:
        head = bytes([version or self._version, _DTYPES.index(self.dtype)]) + self._profile.digest[:ID_BYTES]
        fields = head + pack_sized(key.sending.grid.pack()) + pack_sized(key.sending.said)
        return self._write(array, key.sending, key.coded, fields)

    def _write(self, array: np.ndarray[Any, Any], sending: Sending, coded: Coded, key: bytes = b"") -> _Made:
        """A packet, if it is the one to be sent."""
        codes, leftover = coded
        kind = _PACKET | (_KEY if key else 0) | (_LEFTOVER if leftover else 0)
        block = sending.encoder.code(codes.T)
        place = pack_varint(self._number) + pack_varint(len(array))
        lists = (pack_sized(leftover) if leftover else b"") + pack_sized(block.raw.tobytes())
        fields = bytes([kind]) + place + key + lists
        packet = b"".join([fields, sending.encoder.push(block, _checksum(array, fields))])
        begins = len(sending.said) + _HEAD
        return _Made(packet, sending, codes, bool(key), True, begins)


class _Made(NamedTuple):
    """A packet, and where it would leave the sender."""

    packet: bytes
    sending: Sending
    codes: Codes
    key: bool  # whether it is a key packet
    goes_on: bool  # whether another may follow that is none
    begins: int  # bytes, about, that a key packet takes to say where channels are


def _bits(made: _Made, array: np.ndarray[Any, Any]) -> float:
    """Per sample."""
    return 8 * len(made.packet) / array.size


def _size(made: _Made) -> int:
    return len(made.packet)


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
    if version < _WHOLE or dtype >= len(_DTYPES):
        raise CorruptFrameError("packet is of no version, or of no dtype, that there is")
    profile = _find(reader.take(ID_BYTES))
    _check_family(profile)
    grid = lattice.unpack_lattice(reader.sized())
    base = profile.base.without_network() if version == _WITHOUT_NETWORK else profile.base
    model = side.unpack_difference(reader.sized(), base)
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


def _checksum(samples: np.ndarray[Any, Any], fields: bytes | memoryview) -> int:
    """Of the CRC32C of the samples and of all that a packet says but its words, 31 bits."""
    crc = google_crc32c.value(samples.reshape(-1).view(np.uint8))
    return int(google_crc32c.extend(crc, bytes(fields))) & _CHECKSUM_MASK
