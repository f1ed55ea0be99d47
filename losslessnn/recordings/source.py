"""The kinds of files that recordings come as, and the files beside some that describe them."""

from __future__ import annotations

import enum


class Source(enum.IntEnum):
    """The kind of file that a recording comes as; the layout alone says how an archive restores it.

    Archives keep these numbers.
    """

    BYTES = 0
    RAW = 1
    NPY = 2
    WAV = 3
    NPZ = 4
    SPIKEGLX = 5
    EDF = 6
    INTAN = 7
    OPEN_EPHYS = 8
    NSX = 9
    BRAINVISION = 10
    WFDB = 11
    NEURALYNX = 12
    EEGLAB = 13
    ABF = 14


SIDECARS = {
    Source.SPIKEGLX: ".meta",
    Source.BRAINVISION: ".vhdr",
    Source.WFDB: ".hea",
    Source.EEGLAB: ".set",
}
"""How the name of a file's sidecar ends."""
