"""What helpers rehearse is what encoders and decoders do: their kernels, and no others."""

from __future__ import annotations

import subprocess
import sys
from itertools import chain

import numpy as np
import pytest

from losslessnn import decompress
from losslessnn.cli.rehearsal import FRAME, LATENT_FRAME, STAGES, deal, samples

NOTING = """
from losslessnn.kernels.cpu import compiling

without_collecting, called = compiling._without_collecting, set()

def noting(compile_now):
    dispatcher, compiling_later = compile_now.__self__, without_collecting(compile_now)
    def note(*arguments):
        kinds = ", ".join(str(dispatcher.typeof_pyval(each)) for each in arguments)
        called.add(f"{dispatcher.__module__.rpartition('.')[2]}.{dispatcher.__name__}({kinds})")
        return compiling_later(*arguments)
    return note

compiling._without_collecting = noting
"""
REHEARSING = """
from losslessnn.cli.rehearsal import STAGES

for stage in STAGES.values():
    stage.rehearse()
"""
ENCODING = """
import numpy as np
from losslessnn import compress, decompress

recording = (8 * np.cumsum(np.random.default_rng(0).normal(size=(6000, 8)), axis=0)).astype("i2")
decompress(compress(recording))
compress(recording, level=1)
compress(recording[:1000], level=1, model="latent-factor")
"""


def kernels_called(statements: str) -> set[str]:
    """Kernels, and the kinds of their arguments, that statements call in a process of their own."""
    program = NOTING + statements + "print(*called, sep='\\n')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines())


@pytest.mark.parametrize("frame", [FRAME, LATENT_FRAME], ids=["autoregressive", "latent"])
def test_frames_hold_the_samples(frame: bytes) -> None:
    assert np.array_equal(decompress(frame), samples())


@pytest.mark.slow
def test_all_that_is_rehearsed_is_needed_and_what_takes_longest_is_rehearsed() -> None:
    rehearsed, needed = kernels_called(REHEARSING), kernels_called(ENCODING)
    assert sorted(rehearsed - needed) == []
    long = {"autoregressive.decode", "training.train", "network_times.go_through"}
    long |= {"autoregressive.code_intervals", "autoregressive.code_steady_intervals", "solving.split_gain"}
    long |= {"latent.foresee", "latent.encode"}
    assert long <= {kernel.partition("(")[0] for kernel in rehearsed}


class TestDeal:
    def test_one_alone_leaves_to_an_encoder_what_it_gets_to_sooner(self) -> None:
        assert {*chain(*deal(5, 2))} - {*chain(*deal(5, 1))} == {"code"}

    def test_levels_without_networks_train_none(self) -> None:
        assert deal(1, 1) == [["decode", "changes", "steady"]]
        assert deal(5, 1) == [["decode", "train", "look", "changes"]]

    def test_latents_are_tried_at_the_highest_level(self) -> None:
        assert {*chain(*deal(9, 2))} - {*chain(*deal(8, 2))} == {"latents"}

    @pytest.mark.parametrize("count", [2, 3])
    def test_nothing_is_rehearsed_twice_and_all_take_about_as_long(self, count: int) -> None:
        dealt = deal(5, count)
        assert sorted(chain(*dealt)) == sorted(STAGES.keys() - {"latents", "steady"})
        seconds = [sum(STAGES[name].seconds for name in names) for names in dealt]
        assert max(seconds) < 1.5 * sum(seconds) / count

    def test_nobody_rehearses_nothing(self) -> None:
        assert deal(5, 0) == []
        assert all(deal(1, 10))
