"""Profiles: smaller frames, nothing else different, and no frame without what it takes to read it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import losslessnn
from losslessnn import (
    CorruptFrameError,
    LosslessnnError,
    MissingModelError,
    ModelError,
    NeuralCodec,
    Profile,
    compress,
    decompress,
    load_model,
    open_archive,
)
from losslessnn.archives.restoring import restore_file
from losslessnn.archives.writing import compress_file
from losslessnn.chunk import encode_chunk
from losslessnn.cli import cli
from losslessnn.errors import RecordingError
from losslessnn.frame import Mode, Section, pack_frame, unpack_frame
from losslessnn.models import encoding, store
from losslessnn.models.autoregressive.model import NO_MARKS
from losslessnn.models.segments import Segment
from losslessnn.models.signal import Signal
from support import (
    ADVERSARIAL,
    assert_same_bits,
    make_beats,
    make_recording,
    make_unevenly_converted,
    run_command_line,
)

CHANNELS = 8


@pytest.fixture(scope="module")
def recording() -> np.ndarray:
    return make_recording(9000, CHANNELS, seed=3)


@pytest.fixture(scope="module")
def profile(recording: np.ndarray) -> Profile:
    return losslessnn.fit(recording[:6000], name="probe", quick=True)


# -- what it brings


@pytest.mark.parametrize("times", [50, 200, 1000, 3000])
def test_packets_become_smaller(recording: np.ndarray, profile: Profile, times: int) -> None:
    packet = recording[-times:]
    plain, frame = compress(packet), compress(packet, model=profile)
    assert_same_bits(packet, decompress(frame))
    assert len(frame) < (0.98 if times < 1000 else 1.0) * len(plain)


@pytest.mark.parametrize("level", range(1, 10))
def test_never_larger_at_any_level(recording: np.ndarray, profile: Profile, level: int) -> None:
    packet = recording[-700:]
    frame = compress(packet, level, model=profile)
    assert_same_bits(packet, decompress(frame))
    assert len(frame) <= len(compress(packet, level))


@pytest.mark.parametrize("times", [5, 30, 300])
def test_packets_are_too_short_for_a_fit_of_their_own(
    recording: np.ndarray, profile: Profile, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    packets = [recording[-times:], np.ascontiguousarray(recording[-times:, ::-1])]
    usual = [len(compress(packet, model=profile)) for packet in packets]
    monkeypatch.setattr(encoding, "LONGEST_PACKET", 0)
    assert usual == [len(compress(packet, model=profile)) for packet in packets]


def test_a_packet_of_something_else_is_fitted_after_all(profile: Profile) -> None:
    time = np.arange(300)[:, None]
    wave = np.round(3000 * np.sin(time * np.linspace(0.5, 2.5, CHANNELS))).astype(np.int16)
    assert len(compress(wave, model=profile)) < 1.02 * len(compress(wave))


def test_never_larger_where_there_is_little_to_save() -> None:
    clip = make_recording(6000, 1, seed=5)
    profile = losslessnn.fit(clip[:5000], quick=True)
    for times in (64, 100, 200, 1000):
        assert len(compress(clip[-times:], model=profile)) <= len(compress(clip[-times:]))


@pytest.mark.parametrize(
    ("by_profile", "with_network", "kept"),
    [
        (990, 988, "with a network"),  # worth a decoder's time beside a fit, whatever the profile makes of it
        (990, 995, "by the profile"),
        (1010, 990, "with a network"),
        (1010, 999, "fitted"),
        (998, 999, "by the profile"),
    ],
)
def test_of_a_fit_a_network_and_the_profile_the_smallest_is_kept(
    by_profile: int, with_network: int, kept: str, profile: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {1000: "fitted", with_network: "with a network", by_profile: "by the profile"}
    own = iter([1000, with_network])
    monkeypatch.setattr(encoding, "find_changes", lambda *_: [])
    monkeypatch.setattr(encoding, "add_network", lambda marks, model, *_: model)
    monkeypatch.setattr(encoding, "_encode_by_profile", lambda *_: Segment(100, b"", bytes(by_profile), b""))
    monkeypatch.setattr(encoding.Encoder, "_encode", lambda *_: Segment(100, b"", bytes(next(own)), b""))
    encoder = encoding.Encoder((0.0, 0.0), profile.base, encoding.EFFORT[5], None)
    samples = np.ascontiguousarray(make_recording(2000, profile.channels).T.astype(np.int32))
    (segment,) = encoder.segments(Signal.of(samples, NO_MARKS))
    assert names[len(segment.payload)] == kept


def test_where_it_does_not_help_it_is_not_used(profile: Profile) -> None:
    other = np.random.default_rng(1).integers(-30000, 30000, (4000, CHANNELS)).astype("<i2")
    assert compress(other, model=profile) == compress(other)


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_every_array_comes_back(profile: Profile, name: str) -> None:
    array = ADVERSARIAL[name]()
    assert_same_bits(array, decompress(compress(array, model=profile)))


def test_another_range_offset_and_gain(recording: np.ndarray, profile: Profile) -> None:
    for other in (recording[-500:] * 3, recording[-500:] + np.int16(12000), recording[-500:] // 9):
        assert_same_bits(other, decompress(compress(other, model=profile)))


def test_dropouts_and_changes(recording: np.ndarray, profile: Profile) -> None:
    broken = recording[-3000:].copy()
    broken[::7] = -32768
    broken[1500:] = broken[1500:] // 16
    assert_same_bits(broken, decompress(compress(broken, 7, model=profile)))


def test_its_converter_is_the_chunks_too() -> None:
    """ADC tables are not sent again, nor those of codes beyond the ones it knows."""
    x = make_unevenly_converted()
    profile = losslessnn.fit(x[:3000], quick=True)
    assert profile.adc
    packet = x[-400:].copy()
    frame = compress(packet, model=profile)
    sections = unpack_frame(frame)[1]
    assert Section.PROFILE in sections
    assert Section.ADC not in sections
    assert_same_bits(packet, decompress(frame))
    packet[5], packet[6] = packet.max() + 40, packet.min() - 40
    assert_same_bits(packet, decompress(compress(packet, model=profile)))


def test_a_network_travels_in_it() -> None:
    beats = make_beats()
    said: list[str] = []
    profile = losslessnn.fit(beats[: len(beats) // 2], say=said.append)
    assert len(profile.base.model.network.outward) > 0
    assert profile.facts["bits"] < profile.facts["bits_before"]
    assert any("network" in line for line in said)
    rest = beats[len(beats) // 2 :]
    frame = compress(rest, 4, model=profile)  # levels 1 to 4 train none of their own
    assert_same_bits(rest, decompress(frame))
    assert len(frame) < 0.98 * len(compress(rest, 4))


def test_the_size_of_the_network_can_be_chosen() -> None:
    profile = losslessnn.fit(make_beats(), hidden=5, shown=1 << 18)
    assert len(profile.base.model.network.outward) == 5


def test_fitting_twice_gives_the_same_profile(recording: np.ndarray, profile: Profile) -> None:
    again = losslessnn.fit(recording[:6000], name="other name", quick=True)
    assert again.id == profile.id
    assert again == profile


# -- files and names


def test_a_file_is_the_same_profile(profile: Profile, tmp_path: Path) -> None:
    profile.save(tmp_path / "probe.profile")
    read = load_model(tmp_path / "probe.profile")
    assert (read.id, read.name, read.facts) == (profile.id, "probe", profile.facts)
    assert read.to_bytes() == profile.to_bytes() == (tmp_path / "probe.profile").read_bytes()


def test_a_name_that_is_no_text_leaves_the_profile_readable(profile: Profile, tmp_path: Path) -> None:
    path = tmp_path / "probe.profile"
    replace(profile, name=os.fsdecode(b"caf\xe9")).save(path)
    assert load_model(path).name == "caf\\udce9"


def test_a_name_is_not_part_of_the_identity(profile: Profile) -> None:
    assert replace(profile, name="x", facts={"y": 1}).id == profile.id
    assert replace(profile, channels=9).id != profile.id


@pytest.mark.usefixtures("forgotten")
def test_profiles_are_found_by_name_and_id(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile.save(tmp_path / "thursday.profile")
    (tmp_path / "junk.profile").write_bytes(b"junk")
    with pytest.raises(MissingModelError, match=r"probe.*models list"):
        load_model("probe")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    for name in ("probe", "thursday", "thursday.profile", profile.id, profile.id[:6]):
        assert load_model(name) == profile
    with pytest.raises(MissingModelError):
        load_model(profile.id[:5])


@pytest.mark.usefixtures("forgotten")
def test_a_frame_says_which_profile_it_lacks(
    recording: np.ndarray, profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = encode_chunk(recording[-300:], model=profile)
    with pytest.raises(MissingModelError, match=f"{profile.id[:32]}.*nobody"):
        decompress(frame)
    profile.save(tmp_path / "probe.profile")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    assert_same_bits(recording[-300:], decompress(frame))


def test_damaged_profiles_are_found_out(profile: Profile) -> None:
    data = bytearray(profile.to_bytes())
    for at in range(0, len(data), 7):
        data[at] ^= 0x10
        try:
            read = Profile.from_bytes(bytes(data))
            assert read.id == profile.id  # a name or a fact was hit
        except LosslessnnError:
            pass
        data[at] ^= 0x10
    for length in (0, 7, 100, len(data) - 1):
        with pytest.raises(ModelError, match="damaged"):
            Profile.from_bytes(bytes(data[:length]))


@pytest.mark.parametrize("facts", ["[1]", "3", "null", '"ab"'])
def test_facts_that_are_no_facts(facts: str, profile: Profile) -> None:
    data = replace(profile, facts={}).to_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = data[8:end].replace(b'"facts":"{}"', b'"facts":' + json.dumps(facts).encode())
    with pytest.raises(ModelError, match="damaged"):
        Profile.from_bytes(len(header).to_bytes(8, "little") + header + data[end:])


def test_a_newer_profile_says_so(profile: Profile) -> None:
    data = profile.to_bytes().replace(b'"format":"1"', b'"format":"2"')
    with pytest.raises(losslessnn.NewerFormatError, match="upgrade"):
        Profile.from_bytes(data)


def test_impossible_numbers_are_refused_when_a_profile_is_read(profile: Profile, tmp_path: Path) -> None:
    replace(profile, channels=9).save(tmp_path / "x.profile")
    with pytest.raises(ModelError, match=r"x\.profile"):
        load_model(tmp_path / "x.profile")


@pytest.mark.usefixtures("forgotten")
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX's")
def test_what_else_lies_where_profiles_are_looked_for(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.profile").mkdir()
    (tmp_path / "gone.profile").symlink_to("nowhere")
    (tmp_path / "junk.profile").write_bytes(b"junk")
    os.mkfifo(tmp_path / "pipe.profile")
    replace(profile, name="mine").save(tmp_path / "x.profile")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    assert load_model("mine") == profile
    for name in ("nobody", "", "x" * 300, "a\0b"):
        with pytest.raises(MissingModelError, match="no profile is called"):
            load_model(name)


@pytest.mark.usefixtures("forgotten")
def test_a_user_without_a_home_has_profiles_elsewhere(
    profile: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(store, "user_folder", fail)
    profile.save(tmp_path / "probe.profile")
    with pytest.raises(MissingModelError):
        load_model("probe")
    monkeypatch.setenv(store.VARIABLE, str(tmp_path))
    assert load_model("probe") == profile


def test_one_profile_saved_by_many_at_once(profile: Profile, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        saved = [pool.submit(profile.save, tmp_path / "x.profile") for _ in range(200)]
        while not all(one.done() for one in saved):
            if (tmp_path / "x.profile").exists():
                assert (tmp_path / "x.profile").read_bytes() == profile.to_bytes()
    assert [one.exception() for one in saved if one.exception()] == []
    assert os.listdir(tmp_path) == ["x.profile"]


# -- hostile frames


def test_a_profile_for_other_channels_is_corrupt(recording: np.ndarray, profile: Profile) -> None:
    store.remember(profile)
    header, sections = unpack_frame(compress(recording[-400:], model=profile))
    content = {tag: bytes(data) for tag, data in sections.items()}
    content[Section.CHANNELS] = b"\x09"  # 4 channels
    with pytest.raises(CorruptFrameError):
        decompress(pack_frame(header, content))


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_hostile_differences_do_no_harm(recording: np.ndarray, profile: Profile, data: st.DataObject) -> None:
    header, sections = unpack_frame(compress(recording[-300:], model=store.remember(profile)))
    content = {tag: bytearray(part) for tag, part in sections.items()}
    tag = data.draw(st.sampled_from([Section.MODEL, Section.PROFILE, Section.PAYLOAD]))
    first = 16 if tag == Section.PROFILE else 0  # another id is another test
    at = data.draw(st.integers(first, len(content[tag]) - 1))
    content[tag][at] ^= data.draw(st.integers(1, 255))
    frame = pack_frame(header, {tag: bytes(part) for tag, part in content.items()})
    with pytest.raises(CorruptFrameError):
        decompress(frame)


# -- doors


@pytest.mark.usefixtures("forgotten")
def test_codec_settings_embed_the_profile(recording: np.ndarray, profile: Profile) -> None:
    codec = NeuralCodec(model=profile)
    config = json.loads(json.dumps(codec.get_config()))
    frame = codec.encode(recording[-300:])
    store._known.clear()
    again = numcodecs.get_codec(dict(config))
    assert again.get_config() == config
    assert "probe" in repr(again)
    assert_same_bits(recording[-300:], again.decode(frame))
    assert len(frame) < len(NeuralCodec().encode(recording[-300:]))


@pytest.mark.usefixtures("forgotten")
def test_codec_settings_that_only_name_it(recording: np.ndarray, profile: Profile) -> None:
    config = NeuralCodec(model=profile, embed=False).get_config()
    assert config["model"] == profile.id
    assert "profile" not in config
    store._known.clear()
    with pytest.raises(MissingModelError, match=profile.id):
        numcodecs.get_codec(dict(config))
    store.remember(profile)
    assert numcodecs.get_codec(dict(config)).get_config() == config


@pytest.mark.parametrize("embedded", ["no base64!", "AAAA", 7])
def test_damaged_settings_say_so(embedded: Any) -> None:
    with pytest.raises(ModelError, match="embedded in the settings"):
        NeuralCodec.from_config({"level": 5, "model": "ab" * 32, "profile": embedded})


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_store_carries_its_profile(
    recording: np.ndarray, profile: Profile, tmp_path: Path, zarr_format: int
) -> None:
    zarr = pytest.importorskip("zarr")
    if zarr_format == 2:
        format_2 = {"zarr_format": 2} if int(zarr.__version__.split(".")[0]) > 2 else {}
        z = zarr.open(str(tmp_path / "x.zarr"), mode="w", shape=recording.shape, chunks=(500, CHANNELS),
                      dtype=recording.dtype, compressor=NeuralCodec(model=profile), **format_2)  # fmt: skip
        z[...] = recording
    else:
        pytest.importorskip("zarr", minversion="3.0")
        from losslessnn.zarr import NeuralArrayCodec

        zarr.create_array(str(tmp_path / "x.zarr"), data=recording, chunks=(500, CHANNELS),
                          serializer=NeuralArrayCodec(model=profile), compressors=None)  # fmt: skip
    np.save(tmp_path / "x.npy", recording)
    elsewhere = (
        "import numpy as np, zarr\n"
        "x = zarr.open('x.zarr', mode='r')[...]\n"
        "assert np.array_equal(x, np.load('x.npy'))\n"
    )
    subprocess.run([sys.executable, "-c", elsewhere], cwd=tmp_path, check=True)
    frames = [path.read_bytes() for path in (tmp_path / "x.zarr").rglob("*") if path.is_file()]
    frames = [data for data in frames if data.startswith(b"LNN")]
    assert any(
        unpack_frame(data)[0].mode is Mode.NEURAL and Section.PROFILE in unpack_frame(data)[1]
        for data in frames
    )


@pytest.mark.usefixtures("forgotten")
def test_an_archive_carries_its_profile(recording: np.ndarray, profile: Profile, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", recording[-2000:])
    compress_file(tmp_path / "x.npy", tmp_path / "x.lnn", model=profile)
    store._known.clear()
    with open_archive(tmp_path / "x.lnn") as archive:
        restore_file(archive, tmp_path / "y.npy")
        assert archive.header.profile == profile.to_bytes()
    assert (tmp_path / "y.npy").read_bytes() == (tmp_path / "x.npy").read_bytes()


def test_the_command_line_fits_uses_and_exports(recording: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "monday.npy", recording[:6000])
    np.save(tmp_path / "tuesday.npy", recording[6000:])
    said = run_command_line("fit", "monday.npy", "-o", "probe.profile", "--quick", cwd=tmp_path)
    assert "closed form" in said
    run_command_line("compress", "tuesday.npy", "-m", "probe.profile", cwd=tmp_path)
    run_command_line("models", "export", "tuesday.npy.lnn", "back.profile", cwd=tmp_path)
    assert (tmp_path / "back.profile").read_bytes() == (tmp_path / "probe.profile").read_bytes()
    shown = run_command_line("models", "show", "back.profile", cwd=tmp_path)
    assert "coefficients" in shown
    assert run_command_line("models", "show", "tuesday.npy.lnn", cwd=tmp_path) == shown
    (tmp_path / "probe.profile").unlink()
    (tmp_path / "back.profile").unlink()
    run_command_line("decompress", "tuesday.npy.lnn", "-o", "back.npy", cwd=tmp_path)
    assert (tmp_path / "back.npy").read_bytes() == (tmp_path / "tuesday.npy").read_bytes()


@pytest.mark.usefixtures("forgotten")
def test_no_profile_takes_the_place_of_what_it_is_made_from(recording: np.ndarray, tmp_path: Path) -> None:
    """Not even by force: a recording cannot be made again."""
    np.save(tmp_path / "x.npy", recording)
    path, packed = str(tmp_path / "x.npy"), str(tmp_path / "x.lnn")
    cli.main(["fit", path, "-o", str(tmp_path / "x.profile"), "--quick", "-q"], standalone_mode=False)
    cli.main(["compress", path, "-o", packed, "-m", str(tmp_path / "x.profile"), "-q"], standalone_mode=False)
    for file, arguments in (
        (path, ["fit", path, "-o", path, "--quick", "-f"]),
        (packed, ["models", "export", packed, packed, "-f"]),
    ):
        before = Path(file).read_bytes()
        with pytest.raises(RecordingError, match="is what is read"):
            cli.main(arguments, standalone_mode=False)
        assert Path(file).read_bytes() == before


def test_inspect_names_the_profile_that_an_archive_lacks(
    recording: np.ndarray, profile: Profile, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", recording[-300:])
    profile.save(tmp_path / "probe.profile")
    run_command_line("compress", "x.npy", "-m", "probe.profile", "--no-embed", cwd=tmp_path)
    said = run_command_line("inspect", "x.npy.lnn", cwd=tmp_path)
    assert f"needs {profile.id[:32]}, which is not in the archive" in said
    said = json.loads(run_command_line("inspect", "x.npy.lnn", "--json", cwd=tmp_path))
    assert said["arrays"][0]["profiles"] == [profile.id[:32]]
    run_command_line("compress", "x.npy", "-m", "probe.profile", "-f", cwd=tmp_path)
    said = run_command_line("inspect", "x.npy.lnn", cwd=tmp_path)
    assert "bytes, embedded" in said
    assert "needs" not in said


def test_where_the_profile_goes_is_settled_before_the_work(
    recording: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "x.npy", recording)
    run_command_line("fit", "x.npy", "-o", "new/folder/probe.profile", "--quick", cwd=tmp_path)
    assert (tmp_path / "new/folder/probe.profile").exists()
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    monkeypatch.setattr("losslessnn.fitting.fit", lambda *arrays, **options: pytest.fail("too late"))
    arguments = ["fit", str(tmp_path / "x.npy"), "-o", str(tmp_path / "other.profile"), "--quick"]
    with pytest.raises(PermissionError):
        cli.main(arguments, standalone_mode=False)


# -- what cannot be fitted


@pytest.mark.parametrize(
    ("recordings", "what"),
    [
        (np.zeros((100, 4), "<i2"), "too short"),
        (np.full((5000, 4), 7, "<i2"), "constant"),
        ([np.zeros((5000, 4), "<i2"), np.zeros((5000, 5), "<i2")], "not alike"),
        ([np.zeros((5000, 4), "<i2"), np.zeros((5000, 4), "<f4")], "not alike"),
        (np.zeros((5000, 4), "<c8"), "complex"),
        (np.zeros((50, 4, 4), "<i2"), "shape"),
        (np.zeros((5000, 0), "<i2"), "shape"),
        (np.full((5000, 4), np.nan, "<f4"), "lattice|constant"),
        (
            np.array([[1 << 29, 1], [2, 3]] * 2500, "<i4") + np.arange(5000, dtype="<i4")[:, None],
            "no lattice",
        ),
        ([], "no recordings"),
    ],
)
def test_what_cannot_be_fitted_says_why(recordings: Any, what: str) -> None:
    with pytest.raises(ModelError, match=what):
        losslessnn.fit(recordings)


def test_torch_is_asked_for_by_its_extra() -> None:
    program = """
import sys
import numpy as np
import losslessnn
assert "torch" not in sys.modules
losslessnn.fit(np.arange(2000) ** 2 % 97, quick=True, trainer="torch")  # trains nothing, so needs none
sys.modules["torch"] = None
losslessnn.fit(np.zeros((5000, 4), "int16"), trainer="torch")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode
    assert 'training in torch needs torch: pip install "losslessnn[train]"' in done.stderr


@pytest.mark.parametrize(
    ("settings", "what"),
    [({"trainer": "jax"}, "no trainer 'jax'"), ({"hidden": 65}, "1 to 64"), ({"shown": 0}, "too few")],
)
def test_settings_that_cannot_be(settings: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueError, match=what):
        losslessnn.fit(np.zeros((5000, 4), "<i2"), **settings)


def test_another_number_of_channels_is_mentioned(profile: Profile, caplog: pytest.LogCaptureFixture) -> None:
    x = make_recording(500, 13, seed=11)
    with caplog.at_level("WARNING", "losslessnn"):
        assert compress(x, model=profile) == compress(x)
        compress(x, model=profile)
    named = (
        f"the profile {profile.name!r} (id {profile.id[:16]}) is for 8 channels; data of 13 is coded without"
    )
    assert caplog.text.count(named) == 1
