"""Profiles: models fitted to a recording or a device, stored once and named by what they hold.

A frame that was coded with a profile holds the first bytes of its SHA-256 instead of the model itself. So
whoever decodes needs the profile: from the store or archive that embeds it, or from a folder it is kept in.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from losslessnn.errors import CorruptFrameError, MissingModelError, ModelError, NewerFormatError
from losslessnn.lattice import Lattice, unpack_lattice
from losslessnn.newfile import NewFile, write_all

if TYPE_CHECKING:
    from losslessnn.models.latent import FactorModel
    from losslessnn.models.side import Base

FORMAT = 1
ID_BYTES = 16
"""How much of the SHA-256 a frame holds."""
MOST_BYTES = 1 << 26
SUFFIX = ".profile"
VARIABLE = "LOSSLESSNN_MODELS"
_PARTS = ("model", "adc")
_LATENT_PARTS = ("latent", "networks")
"""Besides, in profiles of latent models."""
_DIGITS = "[0-9a-f]{6,64}"
_MOST_CHANNELS = 1 << 20

_known: dict[bytes, Profile] = {}
_lock = threading.Lock()


class Family(enum.StrEnum):
    """A kind of model, by the name it is asked for: to fit to every chunk, or once for a profile.

    Examples
    --------
    >>> [family.value for family in Family]
    ['autoregressive', 'latent-factor']
    """

    AUTOREGRESSIVE = "autoregressive"
    LATENT_FACTOR = "latent-factor"


@dataclass(frozen=True)
class Profile:
    """A fitted model of a recording or a device.

    Make one with :func:`losslessnn.fit`, read one with :func:`losslessnn.load_model`.

    Attributes
    ----------
    channels : int
        Channels of the recordings it is for.
    model : bytes
        Linear predictors, adaptive stage, head and network, as in the MODEL section of a frame.
    adc : bytes
        ADC tables, as in the ADC section of a frame; empty for none.
    name : str
        What people call it; not part of its identity.
    facts : dict
        Anything else worth knowing: where it comes from, what it gained. Not part of its identity.
    latent : bytes
        What channels share, as in the LATENT section; empty if the model is autoregressive.
    networks : bytes
        What makes a variational autoencoder of that; empty for none.

    Examples
    --------
    >>> import losslessnn
    >>> recording = np.random.default_rng(0).normal(0, 20, (5000, 2)).astype("int16")
    >>> profile = losslessnn.fit(recording, name="probe", quick=True)
    >>> profile.channels, profile.family.value, profile.facts["fitted_times"]
    (2, 'autoregressive', 4375)
    >>> Profile.from_bytes(profile.to_bytes()).id == profile.id
    True
    """

    channels: int
    model: bytes
    adc: bytes
    name: str = field(default="", compare=False)
    facts: dict[str, Any] = field(default_factory=dict, compare=False)
    latent: bytes = b""
    networks: bytes = b""

    @property
    def _parts(self) -> dict[str, bytes]:
        names = _PARTS + _LATENT_PARTS if self.latent else _PARTS
        return {name: getattr(self, name) for name in names}

    @property
    def family(self) -> Family:
        """What kind of model it holds: "autoregressive" or "latent-factor"."""
        return Family.LATENT_FACTOR if self.latent else Family.AUTOREGRESSIVE

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of what the profile holds."""
        digest = hashlib.sha256(b"losslessnn profile %d %d " % (FORMAT, self.channels))
        for part in self._parts.values():
            digest.update(b"%d:" % len(part))
            digest.update(part)
        return digest.digest()

    @property
    def id(self) -> str:
        """The SHA-256 in hexadecimal digits: the profile's name in frames."""
        return self.digest.hex()

    def lattice_for(self, dtype: np.dtype[Any] | None = None) -> Lattice | None:
        """The lattice of the recordings it was fitted to, if it says so and they were of this dtype.

        Parameters
        ----------
        dtype : numpy.dtype, optional
            In any byte order. None: whatever they were of.

        Returns
        -------
        losslessnn.lattice.Lattice or None
        """
        try:
            fitted = np.dtype(self.facts["dtype"])
            grid = unpack_lattice(bytes.fromhex(self.facts["lattice"]))
        except (KeyError, TypeError, ValueError):
            return None
        return grid if dtype is None or fitted.newbyteorder("<") == dtype.newbyteorder("<") else None

    def to_bytes(self) -> bytes:
        """The profile as a safetensors file, the same bytes every time, which its own writer does not do.

        Returns
        -------
        bytes
        """
        metadata = {
            "format": str(FORMAT),
            "channels": str(self.channels),
            "name": self.name.encode(errors="backslashreplace").decode(),  # of a file, it may be no text
            "id": self.id,
            "facts": json.dumps(self.facts, sort_keys=True),
        }
        header: dict[str, Any] = {"__metadata__": metadata}
        end = 0
        for name, part in self._parts.items():
            begin, end = end, end + len(part)
            header[name] = {"dtype": "U8", "shape": [end - begin], "data_offsets": [begin, end]}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text + b"".join(self._parts.values())

    @classmethod
    def from_bytes(cls, data: bytes | memoryview, where: str = "profile") -> Profile:
        """Read what `to_bytes` wrote.

        Parameters
        ----------
        data : bytes-like
        where : str, optional
            What to call it in errors.

        Returns
        -------
        Profile

        Raises
        ------
        ModelError
            If the bytes are no profile, or were altered.
        NewerFormatError
            If a newer losslessnn wrote them.
        """
        data = bytes(data)
        if len(data) > MOST_BYTES:
            raise ModelError(f"{where}: {len(data)} bytes are more than any profile has")
        try:
            tensors = load(data)
            header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            version, channels = int(header["format"]), int(header["channels"])
            facts = dict(json.loads(header.get("facts", "{}")))
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(f"{where}: not a losslessnn profile, or damaged ({error})") from error
        if version > FORMAT:
            raise NewerFormatError.of(f"{where}: profile of format {version}")
        if set(tensors) not in (set(_PARTS), {*_PARTS, *_LATENT_PARTS}) or any(
            part.dtype != np.uint8 for part in tensors.values()
        ):
            raise ModelError(f"{where}: does not hold the parts a profile has")
        parts = {name: tensor.tobytes() for name, tensor in tensors.items()}
        profile = cls(channels, **parts, name=str(header.get("name", "")), facts=facts)
        if profile.id != header.get("id"):
            raise ModelError(f"{where}: damaged: it does not hold what its name says")
        return profile

    @cached_property
    def base(self) -> Base:
        """What it holds, every number checked; `CorruptFrameError` if one is impossible."""
        from losslessnn.models.side import Base

        if not 1 <= self.channels <= _MOST_CHANNELS:
            raise CorruptFrameError(f"{self.channels} channels: 1 to {_MOST_CHANNELS} are possible")
        return Base.of(self.model, self.adc, self.channels)

    @cached_property
    def latents(self) -> FactorModel | None:
        """The latent model it holds, every number checked, or None; `CorruptFrameError` as for `base`."""
        if not self.latent:
            return None
        from losslessnn.models import latent, vae

        factors = latent.unpack_factors(self.latent, self.channels, n_times=0)
        networks = vae.unpack_networks(self.networks, self.channels, len(factors.loadings))
        return latent.FactorModel(self.base.model, factors, networks).checked()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a file, which appears whole or not at all; its folder is made if need be.

        Parameters
        ----------
        path : path-like
            Replaced if it exists. :func:`losslessnn.load_model` reads it.

        Raises
        ------
        RecordingError, OSError
            If it cannot be written.
        """
        with NewFile(Path(path), overwrite=True) as new:
            write_all(new.file, self.to_bytes())
            new.publish()

    def __repr__(self) -> str:
        name = f"{self.name!r}, " if self.name else ""
        kind = f"{self.family}, " if self.latent else ""
        return f"Profile({name}{kind}{self.channels} channels, {self.id[:16]})"


def remember(profile: Profile) -> Profile:
    """Let this process decode frames made with a profile."""
    with _lock:
        _known[profile.digest[:ID_BYTES]] = profile
    return profile


def search_path() -> list[Path]:
    """Folders profiles are looked for in: those of ``LOSSLESSNN_MODELS``, the user's, the package's."""
    chosen = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    with contextlib.suppress(RuntimeError):  # a user without a home, as in some containers
        chosen.append(user_folder())
    return [*chosen, Path(__file__).parent / "weights"]


def user_folder() -> Path:
    """Where a user's own profiles are kept."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "losslessnn" / "models"


def installed() -> Iterator[tuple[Path, Profile]]:
    """All readable profiles on the search path."""
    for folder in search_path():
        for path in sorted(folder.glob(f"*{SUFFIX}")) if os.path.isdir(folder) else ():
            if not os.path.isfile(path):  # to open a named pipe would wait for somebody to write
                continue
            try:
                yield path, read(path)
            except (OSError, ModelError, NewerFormatError):
                continue  # somebody else's file; `read` says why when it is asked for by name


def read(path: Path) -> Profile:
    """Read one file, and check that a decoder can run on every number in it."""
    with open(path, "rb") as file:
        profile = Profile.from_bytes(file.read(MOST_BYTES + 1), str(path))
    try:
        _ = profile.base, profile.latents
    except CorruptFrameError as error:
        raise ModelError(f"{path}: {error}") from error
    return profile


def find(digest: bytes | memoryview) -> Profile:
    """The profile whose SHA-256 begins like this.

    Raises
    ------
    MissingModelError
        If it is not at hand.
    """
    digest = bytes(digest)
    with _lock:
        if digest in _known:
            return _known[digest]
    for _, profile in installed():
        if profile.digest[: len(digest)] == digest:
            return remember(profile)
    raise MissingModelError(
        f"this needs profile {digest.hex()}, which is not in {_listed(search_path())}: put its file there, "
        f"name its folder in {VARIABLE}, or load it with losslessnn.load_model"
    )


def load_model(model: str | os.PathLike[str] | Profile) -> Profile:
    """Find a profile, and let this process decode frames made with it.

    Parameters
    ----------
    model : str, path-like or Profile
        A file; or the name of a profile on the search path, or six or more first digits of its id.

    Returns
    -------
    Profile

    Raises
    ------
    MissingModelError
        If there is none of that name.
    ModelError
        If the file is not a profile, or damaged.

    Examples
    --------
    >>> import losslessnn
    >>> losslessnn.load_model("no-such-probe")
    Traceback (most recent call last):
        ...
    losslessnn.errors.MissingModelError: no file and no profile is called 'no-such-probe' ...
    """
    if isinstance(model, Profile):
        return remember(model)
    if os.path.isfile(model):
        return remember(read(Path(model)))
    wanted = os.fspath(model)
    for path, profile in installed():
        if wanted in (profile.name, path.stem, path.name) or _begins(profile.id, wanted):
            return remember(profile)
    with _lock:
        known = [profile for profile in _known.values() if _begins(profile.id, wanted)]
    if known:
        return known[0]
    raise MissingModelError(
        f"no file and no profile is called {wanted!r} (looked in {_listed(search_path())}); "
        f"`losslessnn models list` shows those there are; families are {' and '.join(Family)}"
    )


Model = Profile | Family | str | os.PathLike[str]
"""What a user may name a model by."""


def choose_model(model: Model) -> Profile | Family:
    """What a user means by a model: the name of a family, or what `load_model` takes; errors as there."""
    if isinstance(model, str) and model in list(Family):
        return Family(model)
    return load_model(model)


_MODEL_SETTINGS = {"model", "profile"}  # what `describe_model` may add to a codec's


def describe_model(model: Profile | Family | None, embed: bool) -> dict[str, str]:
    """A model as settings in JSON: its name, or its id, and itself if it is to be embedded."""
    if model is None:
        return {}
    if isinstance(model, Family):
        return {"model": model.value}
    settings = {"model": model.id}
    if embed:
        settings["profile"] = base64.b64encode(model.to_bytes()).decode()
    return settings


def read_settings(settings: Mapping[str, Any], codec: str, known: Set[str]) -> dict[str, Any]:
    """A codec's settings from JSON, with the profile itself as ``model``, and ``embed``.

    Raises
    ------
    NewerFormatError
        If they name something that is neither ``known`` nor what `describe_model` adds.
    MissingModelError, ModelError
        If they name a profile that is not at hand, or hold one that is damaged.
    """
    settings = dict(settings)
    unknown = sorted(settings.keys() - known - _MODEL_SETTINGS)
    if unknown:
        raise NewerFormatError.of(f"unknown {codec} setting {', '.join(map(repr, unknown))} (misspelt?)")
    embedded = settings.pop("profile", None)
    if embedded is not None:
        try:
            data = base64.b64decode(embedded, validate=True)
        except (ValueError, TypeError) as error:
            raise ModelError(f"the profile embedded in the settings is damaged ({error})") from error
        settings["model"] = Profile.from_bytes(data, "the profile embedded in the settings")
    elif "model" in settings:
        settings["embed"] = False
    return settings


def _begins(digits: str, wanted: str) -> bool:
    return bool(re.fullmatch(_DIGITS, wanted)) and digits.startswith(wanted)


def _listed(folders: Sequence[Path]) -> str:
    return ", ".join(map(str, folders))
