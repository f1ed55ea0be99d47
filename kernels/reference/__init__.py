"""What every kernel computes, in plain Python integers: the oracle, slow and obvious.

Everything between codes and words that decides bits is here, one function per concept. Kernels elsewhere may
lay data out as they like, skip what cannot matter and reorder sums, but must end with the same integers. No
function here shares code with them, and there is no floating point.

Conventions, which a kernel must keep:

* ``a >> n`` is the arithmetic shift (rounds down, towards minus infinity) and ``a // b`` rounds down too;
* integers are signed and wide enough. Where a width is stated, a kernel may use that width: no frame that
  passes the checks of a decoder needs more;
* channels are k = 0, 1, ...; times are t = 0, 1, ... A sample before 0 or after the last one is 0, whether it
  is a position or a residual;
* arrays are numpy arrays with the dtypes named in `losslessnn.kernels.parameters`; a recording's codes are
  (channels, time) int32.

A sample goes through these steps, for an encoder and for a decoder alike::

    linear = linear_prediction(...)                          position units, from positions
    mean   = linear + adaptive_prediction(...)               position units, from residuals
    index  = scale_index(averages)                           from the channel's last errors
    mean, index, shape = corrected by the network, if any    from errors and averages
    window = Window(...)                                     what symbols mean
    symbol, escape, low bits                                 rANS, raw bits, raw bits
    learn(code)                                              averages, weights, residuals move on
"""

from __future__ import annotations

from losslessnn.kernels.reference.arithmetic import floor_log2, log2
from losslessnn.kernels.reference.head import coarse_bits, cumulative, next_average, window_of
from losslessnn.kernels.reference.marks import decode_marks, encode_marks
from losslessnn.kernels.reference.network import corrected_index, corrected_mean, corrected_shape, think
from losslessnn.kernels.reference.positions import adc_edges, adc_inverse, nearest_code
from losslessnn.kernels.reference.rans import RansReader, push_all
from losslessnn.kernels.reference.raw import RawWriter, put_raw, symbol_of
from losslessnn.kernels.reference.recording import Coder, decode, decode_next, encode, encode_next
from losslessnn.kernels.reference.sequence import decode_sequence, encode_sequence

__all__ = [
    "Coder",
    "RansReader",
    "RawWriter",
    "adc_edges",
    "adc_inverse",
    "coarse_bits",
    "corrected_index",
    "corrected_mean",
    "corrected_shape",
    "cumulative",
    "decode",
    "decode_marks",
    "decode_next",
    "decode_sequence",
    "encode",
    "encode_marks",
    "encode_next",
    "encode_sequence",
    "floor_log2",
    "log2",
    "nearest_code",
    "next_average",
    "push_all",
    "put_raw",
    "symbol_of",
    "think",
    "window_of",
]
