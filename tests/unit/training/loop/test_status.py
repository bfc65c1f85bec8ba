"""Messages while a stage takes time."""

from __future__ import annotations

import re
import time

import pytest

from training.loop import status


def test_without_a_terminal_a_stage_is_named_again_while_it_lasts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(status, "LOG_SECONDS", 0.05)
    with status.stage("waiting"):
        time.sleep(0.5)
    output = capsys.readouterr()
    first, *others = (output.out + output.err).splitlines()
    assert first == "waiting"
    assert others
    assert all(re.fullmatch(r"waiting \(00:0\d\)", line) for line in others)
    time.sleep(0.2)
    output = capsys.readouterr()
    assert not output.out + output.err  # no message after its end
