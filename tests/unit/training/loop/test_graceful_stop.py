from __future__ import annotations

import io
import os
import signal
import sys

import pytest

from training.loop.graceful_stop import MESSAGE, GracefulStop, interrupt_on_sigterm


class Interrupted(io.RawIOBase):
    """A file whose first write is interrupted by SIGTERM while its buffer is locked."""

    written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        first = not self.written
        self.written += bytes(data)  # type: ignore[call-overload]
        if first:
            os.kill(os.getpid(), signal.SIGTERM)
        return len(self.written)


def test_a_signal_may_come_while_a_line_is_written(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    file = Interrupted()
    with GracefulStop() as stop:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(file)))
        sys.stdout.write("epoch 1\n")
        sys.stdout.flush()
        monkeypatch.undo()
        assert stop.requested
    assert file.written == b"epoch 1\n"
    assert capfd.readouterr().err.encode() == MESSAGE


def test_sigterm_is_ctrl_c_outside_the_epochs() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with interrupt_on_sigterm():
        with GracefulStop() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
