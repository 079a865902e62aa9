"""Damaged files by the hundred: none may crash, hang, take much memory, or leave anything behind.

    python tests/fuzz.py --cases 500 --seed 1

Case ``n`` is always the same file: a small clip of one container, with some of its bytes changed. Every case is
probed and decoded whole, every fourth goes through ``videomatte matte`` with its sound, all in child processes that are
watched from outside. What fails is kept in ``--keep``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

SECONDS = 60.0
"""What one case may take."""

MEMORY = 1 << 30
"""Bytes that one case may take beyond what the process had before it."""

SOUND = {".mp4": "aac", ".mov": "pcm_s16le", ".mkv": "flac", ".webm": "libopus", ".mpg": "mp2", ".ts": "aac",
         ".avi": "libmp3lame", ".m4a": "aac", ".wav": "pcm_s16le"}  # fmt: skip

PICTURES = {
    ".mp4": ("libx264", "yuv420p", {"bf": "2"}), ".mov": ("prores_ks", "yuva444p10le", {}),
    ".mkv": ("ffv1", "yuv444p16le", {}), ".webm": ("libvpx-vp9", "yuva420p", {"cpu-used": "8", "deadline": "realtime"}),
    ".mpg": ("mpeg2video", "yuv420p", {"bf": "2"}), ".ts": ("libx264", "yuv420p", {"bf": "2"}),
    ".avi": ("mpeg4", "yuv420p", {}), ".gif": ("gif", "rgb8", {}),
    ".hevc.mp4": ("libx265", "yuv420p10le", {"x265-params": "log-level=none"}),
    ".png.mov": ("png", "rgba", {}), ".qtrle.mov": ("qtrle", "argb", {}),
}  # fmt: skip

IMAGES = {".png": ("png", "rgba64be"), ".tif": ("tiff", "rgb48le"), ".exr": ("exr", "gbrapf32le"),
          ".jpg": ("mjpeg", "yuvj420p")}  # fmt: skip

KINDS = [*PICTURES, *IMAGES, ".m4a", ".wav"]


def make_seed(kind: str, path: Path) -> Path:
    """A small whole file of a kind: 12 pictures with sound, one picture, or sound alone."""
    import av
    import numpy as np

    noise = np.random.default_rng(len(kind)).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    noise[::2] = 90  # something to compress
    if kind in IMAGES:
        codec, pix_fmt = IMAGES[kind]
        encoder = av.CodecContext.create(codec, "w")
        encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 64, 48, pix_fmt, Fraction(1, 25)
        frame = av.VideoFrame.from_ndarray(noise, "rgb24").reformat(format=pix_fmt)
        path.write_bytes(b"".join(bytes(p) for p in [*encoder.encode(frame), *encoder.encode(None)]))
        return path
    with av.open(str(path), "w") as movie:
        video = sound = None
        if kind in PICTURES:
            codec, pix_fmt, options = PICTURES[kind]
            video = movie.add_stream(codec, rate=25, options=options)
            video.width, video.height, video.pix_fmt = 64, 48, pix_fmt
            video.codec_context.gop_size = 5
        if path.suffix in SOUND:
            sound = movie.add_stream(SOUND[path.suffix], rate=48000, layout="stereo")
        for number in range(12):
            if video is not None:
                frame = av.VideoFrame.from_ndarray(np.roll(noise, number, 1), "rgb24").reformat(format=video.pix_fmt)
                movie.mux(video.encode(frame))
            if sound is not None:
                samples = (noise.reshape(1, -1)[:, : 2 * 1920].astype(np.int16) - 128) * 100
                block = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
                block.sample_rate, block.pts, block.time_base = 48000, 1920 * number, Fraction(1, 48000)
                movie.mux(sound.encode(block))
        for stream in (video, sound):
            if stream is not None:
                movie.mux(stream.encode(None))
    return path


def mutate(data: bytes, draw: random.Random) -> bytes:
    """The file with a few of its bytes changed: in the headers and indexes at its ends, or in the packets between."""
    out = bytearray(data)
    ends, inner = draw.choice([(1.0, 0.0), (0.0, 1.0), (0.5, 0.5)])
    most = draw.choice([1, 2, 4, 8, 40])

    def place() -> int:
        near = min(len(out), 800)
        if draw.random() < ends or len(out) <= 2 * near:
            return draw.randrange(near) if draw.random() < 0.6 else len(out) - 1 - draw.randrange(near)
        return draw.randrange(near, len(out) - near) if inner else draw.randrange(len(out))

    for _ in range(draw.randint(1, most)):
        at = place()
        action = draw.random()
        if action < 0.35:
            out[at] ^= 1 << draw.randrange(8)
        elif action < 0.75:  # a number at the edge of its range, in either order of bytes
            size = draw.choice([1, 2, 4, 8])
            value = draw.choice([0, 1, 2, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, -1])
            out[at : at + size] = (value % 2 ** (8 * size)).to_bytes(size, draw.choice(["big", "little"]))
        elif action < 0.82:
            out[at : at + draw.randrange(1, 64)] = draw.randbytes(draw.randrange(1, 64))
        elif action < 0.88:
            del out[at : at + draw.randrange(1, 200)]
        elif action < 0.96:
            out[at:at] = out[at : at + draw.randrange(1, 400)] * draw.choice([1, 1, 2, 50])
        else:
            del out[at:]
        if not out:
            out += b"\0"
    return bytes(out)


def case(seed: int, number: int, seeds: dict[str, bytes]) -> tuple[str, bytes]:
    """The kind and the content of a case."""
    draw = random.Random(f"{seed}:{number}")
    kind = KINDS[number % len(KINDS)]
    return kind, mutate(seeds[kind], draw)


def run_case(kind: str, data: bytes, folder: Path, *, whole_line: bool) -> str:
    """What became of it: ``ok``, ``refused``, or what is wrong, after ``FAULT``. Runs in a child process."""
    from videomatte.errors import VideomatteError
    from videomatte.io import open_source, probe

    path = folder / f"case{kind}"
    path.write_bytes(data)
    outcome = "ok"
    try:
        try:
            probe(path)
            with open_source(path) as source:
                for _ in source:
                    pass
        except VideomatteError as error:
            outcome = "refused"
            if str(path) not in str(error) or "\n" in str(error):
                return f"FAULT: not one line about the file: {error}"
        except Exception as error:  # noqa: BLE001
            return f"FAULT: {type(error).__name__}: {error}"
        if whole_line and (fault := _matte(path, folder)):
            return f"FAULT: {fault}"
    finally:
        path.unlink()
    left = [*folder.iterdir()]
    for stray in left:  # for the next case
        shutil.rmtree(stray) if stray.is_dir() else stray.unlink()
    return f"FAULT: left behind {[p.name for p in left]}" if left else outcome


def _matte(path: Path, folder: Path) -> str:
    """One whole run; what is wrong with it."""
    import contextlib
    import io

    from videomatte.cli import main

    output = folder / "matte.mov"
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        words = ["matte", str(path), "-o", str(output), "--key", "green", "--foreground", "source", "--temporal", "0"]
        code = main([*words, "--quiet"])
    made = output.exists()
    output.unlink(missing_ok=True)
    if code not in (0, 1, 2) or "internal error" in said.getvalue():
        return f"exit code {code}: {said.getvalue()}"
    if made != (code == 0):
        return f"exit code {code}, but output {'there' if made else 'missing'}"
    return f"says {said.getvalue()!r}" if code and said.getvalue().count("\n") != 1 else ""


def child(seed: int, seeds_folder: Path, folder: Path) -> None:
    """Reads case numbers, writes what became of each."""
    import torch

    from pipelines import line
    from videomatte.types import MatteFrame

    class Known:
        """The trimap as the matte: what is tested is the files, not the solver."""

        def __call__(self, frames: Iterator[Any]) -> Iterator[MatteFrame]:
            for item in frames:
                yield MatteFrame(item, item.trimap.float() / 255)

    line.open_matting = lambda *_args, **_kwargs: Known()  # type: ignore[assignment]
    torch.set_num_threads(1)
    seeds = {kind: (seeds_folder / f"seed{kind}").read_bytes() for kind in KINDS}
    for words in sys.stdin:
        number = int(words)
        base = _reset_peak()
        kind, data = case(seed, number, seeds)
        outcome = run_case(kind, data, folder, whole_line=number % 4 == 0)
        print(json.dumps({"outcome": outcome, "memory": max(0, _peak() - base)}), flush=True)


_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Of Linux: elsewhere memory is not measured."""


def _reset_peak() -> int:
    """Start to count the peak of memory anew; bytes taken now."""
    if _RESET.exists():
        _RESET.write_text("5")
    return _peak()


def _peak() -> int:
    return int(_STATUS.read_text().split("VmHWM:")[1].split()[0]) * 1024 if _STATUS.exists() else 0


class Child:
    """A child process, started again after each that died."""

    def __init__(self, seed: int, seeds: Path) -> None:
        self._words = [sys.executable, __file__, "--child", str(seeds), "--seed", str(seed)]
        self._process: subprocess.Popen[str] | None = None

    def run(self, number: int) -> dict[str, Any]:
        if self._process is None:
            self.folder = Path(tempfile.mkdtemp(prefix="fuzz"))
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self._process = subprocess.Popen(
                [*self._words, "--folder", str(self.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL, text=True, env=environment, cwd=Path(__file__).parents[1],
            )  # fmt: skip
        assert self._process.stdin
        assert self._process.stdout
        started = time.monotonic()
        self._process.stdin.write(f"{number}\n")
        self._process.stdin.flush()
        killer = threading.Timer(SECONDS, self._process.kill)
        killer.start()
        answer = self._process.stdout.readline()
        killer.cancel()
        seconds = time.monotonic() - started
        if not answer:
            code = self._process.wait(timeout=SECONDS)
            name = signal.Signals(-code).name if code < 0 else f"code {code}"
            what = f"FAULT: more than {SECONDS:.0f} s" if seconds >= SECONDS else f"FAULT: died of {name}"
            self.close()
            return {"outcome": what, "memory": 0, "seconds": seconds}
        result: dict[str, Any] = {**json.loads(answer), "seconds": seconds}
        if result["memory"] > MEMORY:
            result["outcome"] = f"FAULT: took {result['memory'] >> 20} MiB"
        return result

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes its pipes
            shutil.rmtree(self.folder, ignore_errors=True)
        self._process = None


def fuzz(numbers: range, seed: int, keep: Path | None = None, say: Callable[[str], None] = print) -> dict[int, str]:
    """Run cases; the faults by number."""
    faults: dict[int, str] = {}
    outcomes: Counter[str] = Counter()
    slowest, largest = (0.0, -1), (0, -1)
    with tempfile.TemporaryDirectory() as folder:
        seeds = {kind: make_seed(kind, Path(folder) / f"seed{kind}").read_bytes() for kind in KINDS}
        worker = Child(seed, Path(folder))
        try:
            for number in numbers:
                result = worker.run(number)
                outcome = result["outcome"]
                outcomes[outcome.partition(":")[0]] += 1
                slowest, largest = max(slowest, (result["seconds"], number)), max(largest, (result["memory"], number))
                if outcome.startswith("FAULT"):
                    faults[number] = outcome
                    kind, data = case(seed, number, seeds)
                    say(f"case {number} ({kind}): {outcome}")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        (keep / f"{seed}-{number}{kind}").write_bytes(data)
        finally:
            worker.close()
    say(
        f"{len(numbers)} cases of seed {seed}: {dict(outcomes)}; slowest {slowest[0]:.1f} s (case {slowest[1]}), "
        f"most memory {largest[0] / 2**20:.0f} MiB (case {largest[1]})"
    )
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the files that fail")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        child(words.seed, words.child, words.folder)
        return 0
    return 1 if fuzz(range(words.first, words.first + words.cases), words.seed, words.keep) else 0


if __name__ == "__main__":
    sys.exit(main())
