"""Memory does not grow with the clip, however slow the consumer is."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

SCRIPT = """
import sys, time
import torch
import videomatte
from videomatte.engine import Clock, Threads, peak_memory_bytes
from videomatte.types import MatteFrame, TrimapFrame

clip, output, decoder, pause = sys.argv[1:]

def mattes(frames):
    for frame in frames:
        alpha = frame.rgb.float().mean(0, keepdim=True) / 255
        yield MatteFrame(TrimapFrame(frame, torch.full_like(alpha, 128, dtype=torch.uint8), "generated"), alpha)

written = 0
with (
    videomatte.open_source(clip, decoder=decoder) as source,
    videomatte.open_sink(output, source.info) as sink,
    Threads() as threads,
):
    for matte in threads.boundary(mattes(threads.boundary(source))):
        sink.write(matte)
        time.sleep(float(pause))
        written += 1
print(written, peak_memory_bytes())
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Clips of 300 and 3,000 different frames."""
    folder = tmp_path_factory.mktemp("long")
    ramp = np.add.outer(np.arange(90), np.arange(160)).astype(np.uint8)
    paths = {}
    for count in (300, 3000):
        paths[count] = folder / f"{count}.mp4"
        with av.open(str(paths[count]), "w") as container:
            stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
            stream.width, stream.height, stream.pix_fmt = 160, 90, "yuv420p"
            for number in range(count):
                luma = np.concatenate([ramp + number % 256, np.full((45, 160), 128)]).astype(np.uint8)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(luma, "yuv420p")))
            container.mux(stream.encode())
    return paths


# A 160 x 90 frame decodes in some 0.4 ms: 4 ms a frame is a consumer ten times slower.
@pytest.mark.parametrize(("decoder", "pause"), [("av", 0.0), ("av", 0.004), ("decord", 0.004)])
def test_peak_memory_of_decode_to_sink_does_not_grow(
    clips: dict[int, Path], tmp_path: Path, decoder: str, pause: float
) -> None:
    if decoder == "decord":
        pytest.importorskip("decord")
    peaks = {}
    for count, clip in clips.items():
        words = [sys.executable, "-c", SCRIPT, str(clip), str(tmp_path / f"{count}.mov"), decoder, str(pause)]
        done = subprocess.run(words, check=True, capture_output=True, text=True)
        written, peaks[count] = map(int, done.stdout.split())
        assert written == count
    # Every frame kept would cost 2,700 x 43 kB as RGB alone, 116 MB; 5 % is some 20 MB.
    assert peaks[3000] <= 1.05 * peaks[300], peaks
