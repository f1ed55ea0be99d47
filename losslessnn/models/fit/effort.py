"""How hard an encoder tries, level by level."""

from __future__ import annotations

from dataclasses import dataclass

from losslessnn.models.network import Training


@dataclass(frozen=True)
class Effort:
    """How far an encoder goes; a decoder reads what it needs from the frame.

    Attributes
    ----------
    own, past, lead : int
        Longest own lag; longest lag and lead of a reference, in samples.
    references, later : int
        References a channel may have that are coded before it, and after it.
    adaptive_own, adaptive_references : int
        Inputs of the adaptive stage: own past residuals, and references with two residuals each.
    rates : tuple of int
        Step sizes of the adaptive stage to try, in units of 2**-16.
    fit_samples : int
        Samples the linear fit looks at, all channels together, but some thousands of each.
    refits : tuple of int
        How often the linear fit is repeated, weighted by the errors it left: over spans of how many samples.
    network : Training
        How hard to try to train a network.
    skews : tuple of int
        By how many steps a channel may be coded after the one before it: the more, the farther leads reach
        into channels coded before, and the less is known of later ones.
    reference_gain : float
        Bits a sample a reference must save to be worth a decoder's time, but for the first ones.
    apart : int
        By how many steps of time channels are compared before and after each other, too, to choose
        references.
    adaptive_gain : float
        Bits a sample the adaptive stage must save to be worth a decoder's time.
    following_gain : float
        Bits a sample that scales must save by following the errors to be worth the time.
    loudness : float
        By how many octaves, about, what will be coded may be louder or quieter than what is fitted to: of a
        profile; a chunk's own model is fitted to all that it codes.
    quick_cuts : bool
        Whether a quick model chooses the change at which a recording is cut in two, where there are several.
    """

    own: int
    references: int
    later: int
    past: int
    lead: int
    adaptive_own: int
    adaptive_references: int
    rates: tuple[int, ...]
    fit_samples: int
    refits: tuple[int, ...]
    network: Training
    skews: tuple[int, ...] = (1,)
    reference_gain: float = 0.004
    apart: int = 1
    adaptive_gain: float = 0.012
    following_gain: float = 0.0
    loudness: float = 0.0
    quick_cuts: bool = False


RATES = (164, 328, 656, 1312, 2624)
NO_NETWORK = Training(0, 0, 0, 0, 0.0, 0.0)
TRAINING = {
    5: Training(
        16, 3 << 12, 1 << 22, 1 << 18, 0.004, 0.015, 16, small_pace=0.012, much=0.02, least_of_few=0.01
    ),
    6: Training(16, 3 << 13, 1 << 21, 1 << 19, 0.004, 0.015, least_of_few=0.01),
    7: Training(16, 1 << 17, 1 << 21, 1 << 19, 0.004, 0.012),
    8: Training(16, 1 << 18, 1 << 22, 1 << 20, 0.002, 0.008),
    9: Training(32, 1 << 18, 1 << 23, 1 << 20, 0.001, 0.004, batch=128),
}
EFFORT: dict[int, Effort] = {
    1: Effort(8, 2, 0, 1, 0, 0, 0, (), 1 << 18, (), NO_NETWORK, apart=0, following_gain=0.05),
    2: Effort(12, 4, 0, 1, 1, 0, 0, (), 1 << 19, (), NO_NETWORK),
    3: Effort(16, 4, 2, 2, 1, 16, 2, (656,), 1 << 20, (), NO_NETWORK, quick_cuts=True),
    4: Effort(16, 8, 2, 2, 2, 16, 4, (656,), 1 << 20, (), NO_NETWORK, quick_cuts=True),
    5: Effort(16, 12, 4, 2, 2, 16, 4, (656,), 1 << 20, (128,), TRAINING[5], quick_cuts=True),
    6: Effort(24, 12, 4, 3, 3, 16, 4, (328, 1312), 1 << 22, (128,), TRAINING[6], (1,), 0.002, 2),
    7: Effort(32, 12, 4, 3, 3, 16, 6, (328, 656, 1312), 1 << 23, (128, 128), TRAINING[7], (1, 2), 0.0, 2),
    8: Effort(32, 16, 8, 3, 3, 24, 8, RATES[:4], 1 << 25, (128, 16), TRAINING[8], (1, 2), 0.0, 2),
    9: Effort(32, 16, 8, 4, 4, 32, 8, RATES, 1 << 40, (128, 16), TRAINING[9], (1, 2), 0.0, 2, 0.006),
}
