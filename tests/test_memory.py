"""Memory does not grow with the clip, however slow the consumer is."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from videomatte.engine import memory

HEIGHT, WIDTH, SETTLED, COUNT = 144, 256, 150, 600

SCRIPT = """
import sys, time
import torch
import videomatte
from videomatte.engine import Threads, peak_memory_bytes
from videomatte.types import MatteFrame, TrimapFrame

clip, output, decoder, settled = sys.argv[1:]

def mattes(frames):
    for frame in frames:
        alpha = frame.rgb.float().mean(0, keepdim=True) / 255
        yield MatteFrame(TrimapFrame(frame, torch.full_like(alpha, 128, dtype=torch.uint8), "generated"), alpha)

written = 0
with (
    videomatte.open_source(clip, decoder=decoder) as source,
    videomatte.open_sink(output, source.info, format="qtrle") as sink,
    Threads() as threads,
):
    for matte in threads.boundary(mattes(threads.boundary(source))):
        sink.write(matte)
        time.sleep(0.004)
        written += 1
        if written == int(settled):
            print(peak_memory_bytes())
print(peak_memory_bytes())
print(written)
"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 different frames."""
    path = tmp_path_factory.mktemp("long") / "long.mp4"
    ramp = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH)).astype(np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for number in range(COUNT):
            luma = np.concatenate([ramp + number % 256, np.full((HEIGHT // 2, WIDTH), 128)]).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(luma, "yuv420p")))
        container.mux(stream.encode())
    return path


# A frame decodes in some 0.5 ms: with 4 ms of pause the consumer is ten times slower. decord's first two batches of
# 64 frames belong to what it always takes, and lie before the first measurement.
@pytest.mark.parametrize("decoder", ["av", "decord"])
def test_peak_memory_of_decode_to_sink_does_not_grow(clip: Path, tmp_path: Path, decoder: str) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    words = [sys.executable, "-c", SCRIPT, str(clip), str(tmp_path / "matte.mov"), decoder, str(SETTLED)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    settled, peak, written = map(int, done.stdout.split())
    assert written == COUNT
    # Every frame kept would cost 450 x 111 kB as RGB alone, 50 MB; 5 % is some 20 MB.
    assert peak <= 1.05 * settled, (settled, peak)


LARGE = 300_000_000


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell")
def test_peak_memory_is_not_that_of_the_starting_process() -> None:
    script = f"import runpy; print(runpy.run_path({memory.__file__!r})['peak_memory_bytes']())"
    held = np.ones(LARGE, np.uint8)
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    # A bare interpreter takes some 10 MB.
    assert 2**20 < int(done.stdout) < held.nbytes / 2
