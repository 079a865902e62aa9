"""Ctrl-C may strike anywhere: an act of a moment is not cut in two by it, and a run that it ends leaves nothing."""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import pytest

import videomatte
from pipelines import process_clip as pipeline
from videomatte.engine import undisturbed as acts
from videomatte.engine.undisturbed import undisturbed
from videomatte.io import file_sink, lock, tee, work
from videomatte.scenes import SceneSettings, write_clip

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to a single process on Windows")

WAY_IN = {module.__file__ for module in (acts, file_sink, lock, pipeline, tee, work)}


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    trace, handlers = sys.gettrace(), {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    sys.settrace(trace)
    for number, handler in handlers.items():
        signal.signal(number, handler)


class CtrlC:
    """Traces what the interpreter does on the way into a run, from the moment on that something is in a folder until
    the first frame is written, and strikes before one of its operations.
    """

    def __init__(self, folder: Path, at: int) -> None:
        self.operations = 0
        self._folder, self._at = folder, at

    def __call__(self, frame: FrameType, event: str, _: object) -> object:
        if frame.f_code.co_filename not in WAY_IN:
            return None
        frame.f_trace_opcodes = True
        if frame.f_code is tee.Tee.write.__code__:
            sys.settrace(None)
        elif event == "opcode" and (self.operations or any(self._folder.iterdir())):
            self.operations += 1
            if self.operations == self._at:
                sys.settrace(None)
                signal.raise_signal(signal.SIGINT)
        return self


# What is cut off in its making is closed by nobody but the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_wherever_it_strikes_on_the_way_into_a_run_nothing_is_left(tmp_path: Path) -> None:
    clip = write_clip(SceneSettings(width=96, height=64, frames=2, seed=3, backdrop="green"), tmp_path / "clip")
    out = tmp_path / "out"
    out.mkdir()

    def run(at: int) -> CtrlC:
        ctrl_c = CtrlC(out, at)
        sys.settrace(ctrl_c)
        try:
            videomatte.matte(clip, out / "m.mov", key="green", model="laplacian", foreground="source", temporal=0.0)
        finally:
            sys.settrace(None)
        return ctrl_c

    operations = run(at=0).operations
    assert operations > 300, "the whole way in is watched"
    shutil.rmtree(out)
    out.mkdir()
    for at in range(1, operations, 9):  # a stretch that is not protected is longer than that
        with pytest.raises(KeyboardInterrupt):
            run(at)
        assert not list(out.iterdir()), f"at operation {at} of {operations}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_until_the_act_is_done(number: signal.Signals) -> None:
    def stop(*_: object) -> None:
        raise InterruptedError

    signal.signal(number, stop)
    done = []

    def act() -> None:
        with undisturbed():
            with undisturbed():
                signal.raise_signal(number)
                done.append("inner")
            done.append("outer")

    with pytest.raises(InterruptedError):
        act()
    assert done == ["inner", "outer"]
    assert signal.getsignal(number) is stop
    with pytest.raises(InterruptedError):
        signal.raise_signal(number)


def test_an_error_of_the_act_itself_is_told() -> None:
    with pytest.raises(ZeroDivisionError), undisturbed():
        _ = 1 / 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone() -> None:
    seen: list[object] = []

    def act() -> None:
        with undisturbed():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=act)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
