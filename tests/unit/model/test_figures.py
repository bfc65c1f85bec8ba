"""Saving figures."""

from __future__ import annotations

import io
import logging
import warnings

import pytest
from matplotlib.figure import Figure

from model.figures import save_figure

UNKNOWN = "\N{LYDIAN LETTER A}\N{LYDIAN LETTER B}"  # matplotlib's font lacks them, as others will


def test_letters_that_the_font_lacks_are_named_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for _ in range(2):  # a report draws each figure twice: for light and for dark pages
        figure = Figure()
        figure.text(0, 0, f"a class: {UNKNOWN}")
        save_figure(figure, io.BytesIO(), dpi=50)
    assert caplog.messages == [f"figures show boxes for characters that matplotlib's font lacks: {UNKNOWN}"]


def test_other_warnings_are_kept() -> None:
    class WarningFigure(Figure):
        def savefig(self, *_: object, **__: object) -> None:
            warnings.warn("something else", UserWarning, stacklevel=1)

    with pytest.warns(UserWarning, match="something else"):
        save_figure(WarningFigure(), io.BytesIO(), dpi=50)
