"""``make kill``: runs killed at random moments by SIGKILL and run again, against one that nothing disturbed.

Of each kind of output five, unless told otherwise: ``python tests/kill.py [--runs N] [--seed N] [NAME...]``.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from interrupted import content

from videomatte.scenes import SceneSettings, write_clip

NAMES = ["m.mov", "m.webm", "ffv1:m.mkv", "frames/"]
SCENE = SceneSettings(width=128, height=72, frames=24, seed=3, backdrop="green")
PROGRAM = """
import sys
from videomatte.cli import main
from videomatte.io import segments
segments.SEGMENT_FRAMES = segments.SHORT_SEGMENT_FRAMES = 3
sys.exit(main())
"""


def start(clip: Path, output: str) -> subprocess.Popen[str]:
    words = ["matte", str(clip), "-o", output, "--key", "green", "--model", "laplacian", "--quiet"]
    return subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, text=True)


def wait_for_work(process: subprocess.Popen[str], folder: Path) -> float:
    """When the run has begun: its work folder is there."""
    while process.poll() is None and not any(folder.iterdir()):
        time.sleep(0.005)
    return time.monotonic()


def one_kill(name: str, clip: Path, wanted: Path, folder: Path, after: float) -> str | None:
    """Kill a run so many seconds after it began, run it again; what is wrong, or ``None``."""
    words, colon, file = name.rpartition(":")
    output = f"{words}{colon}{folder}/{file}"
    process = start(clip, output)
    wait_for_work(process, folder)
    time.sleep(after)
    process.kill()
    process.communicate()
    killed = process.returncode == -signal.SIGKILL
    left = [p for p in folder.glob(".*/*") if p.suffix in (".mov", ".webm", ".mkv") or p.is_dir()]
    again = start(clip, output)
    _, said = again.communicate()
    path = folder / file
    print(f"{name:12} killed {killed!s:5} after {after:5.2f} s, {len(left)} left: {said.strip()[-70:]}", flush=True)
    if again.returncode and not (killed and f"{path} exists" in said):  # killed after its last act
        return f"ended with {again.returncode}: {said}"
    if [p.name for p in folder.iterdir()] != [path.name]:
        return f"left {[p.name for p in folder.iterdir()]}"
    return None if content(path) == content(wanted) else "frames differ from those of the undisturbed run"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        clip = write_clip(SCENE, root / "clip")
        for name in asked.names:
            file = name.rpartition(":")[2]
            whole = root / "whole"
            whole.mkdir()
            process = start(clip, f"{name.removesuffix(file)}{whole}/{file}")
            began = wait_for_work(process, whole)
            while process.poll() is None and not (whole / file).exists():
                time.sleep(0.005)
            length = time.monotonic() - began
            process.communicate()
            assert process.returncode == 0
            draw = random.Random(f"{asked.seed} {name}")
            for number in range(asked.runs):
                folder = root / f"run{number}"
                folder.mkdir()
                wrong = one_kill(name, clip, whole / file, folder, draw.uniform(0, length))
                failures += wrong is not None
                if wrong:
                    print(f"{name}: run {number}: {wrong}", flush=True)
                shutil.rmtree(folder)
            shutil.rmtree(whole)
    runs = asked.runs * len(asked.names)
    print(f"{runs - failures} of {runs} killed runs ended in the very frames of the undisturbed one")
    return min(failures, 1)


if __name__ == "__main__":
    sys.exit(main())
