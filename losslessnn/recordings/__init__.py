"""Readers of the file formats that recordings come in.

A reader does not load samples. It looks at a file and says how its bytes are put together (a
`losslessnn.recordings.layout`), so that every format is coded, restored and verified by the same code, in
constant memory: `blocks` reads the samples that any layout tells of.
"""

from losslessnn.recordings.blocks import Block
from losslessnn.recordings.mapping import map_samples
from losslessnn.recordings.opening import open_recording
from losslessnn.recordings.recording import Reading, Recording
from losslessnn.recordings.start import load_start

__all__ = ["Block", "Reading", "Recording", "load_start", "map_samples", "open_recording"]
