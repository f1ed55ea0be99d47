"""What a profile holds besides networks: all that is fitted in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace

from losslessnn.kernels.parameters import Positions
from losslessnn.models import latent
from losslessnn.models.autoregressive.model import AutoregressiveModel, Marks
from losslessnn.models.blocks import Codes
from losslessnn.models.fit import fit
from losslessnn.models.fit.effort import Effort
from losslessnn.models.latent_fit import FAR, fit_factors
from losslessnn.models.point_trial import take_points
from losslessnn.models.prediction import Prediction
from losslessnn.models.signal import Signal
from losslessnn.models.table_trial import choose_tables


@dataclass(frozen=True)
class ClosedForm:
    """A model of everything that has a closed form, and what it was fitted to.

    Attributes
    ----------
    samples : (channels, time) int32
        Codes; marked ones repeat the code before them.
    marks : (channels, time) uint8
    model : AutoregressiveModel
        Without a network.
    prediction : Prediction
    tables : bytes
        ADC tables, as in the ADC section; empty for none.
    """

    samples: Codes
    marks: Marks
    model: AutoregressiveModel
    prediction: Prediction
    tables: bytes


def fit_closed_form(samples: Codes, effort: Effort) -> ClosedForm:
    """What a profile holds besides a network, from (channels, time) codes."""
    samples, marks = take_points(samples)
    positions, tables = _converted(samples, marks)
    model, prediction = fit(samples, positions, effort)
    return ClosedForm(samples, marks, model, prediction, tables)


@dataclass(frozen=True)
class ClosedLatents:
    """As `ClosedForm`, of a factor model.

    Attributes
    ----------
    samples : (channels, time) int32
    marks : (channels, time) uint8
    model : FactorModel
    tables : bytes
    """

    samples: Codes
    marks: Marks
    model: latent.FactorModel
    tables: bytes


def fit_closed_latents(samples: Codes, effort: Effort) -> ClosedLatents:
    """What a latent profile holds besides networks, from (channels, time) codes."""
    samples, marks = take_points(samples)
    positions, tables = _converted(samples, marks)
    model, _ = fit_factors(samples, positions, marks, effort, FAR)
    return ClosedLatents(samples, marks, model, tables)


def _converted(samples: Codes, marks: Marks) -> tuple[Positions, bytes]:
    """Positions of codes, and the ADC tables these need; empty for none."""
    signal = Signal.of(samples, marks)
    tables = choose_tables(signal)
    return replace(signal, tables=tables).positions(), b"" if tables is None else tables.pack()
