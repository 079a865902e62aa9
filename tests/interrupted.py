"""Runs that are killed, for tests and for ``make kill``: the run itself, in a process of its own, and what it left."""

import hashlib
import itertools
import logging
import os
import signal
import sys
from pathlib import Path

import av

EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir")


def run(clip: Path, outputs: list[str], folder: Path, kill_at: int | None, settings: dict[str, object]) -> None:
    """Matte a clip in segments of three frames, and die by SIGKILL at a given one of its dealings with a folder."""
    import videomatte
    from videomatte.io import segments

    logging.disable(logging.WARNING)
    segments.SEGMENT_FRAMES = segments.SHORT_SEGMENT_FRAMES = 3
    count = itertools.count()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in EVENTS and str(folder) in str(arguments[0]):
            number = next(count)
            if number == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)
    videomatte.matte(clip, outputs, **settings)
    (folder.parent / "events").write_text(str(next(count)))


def content(path: Path) -> list[tuple[object, ...]]:
    """Every frame of an output as it is stored, with its time, and every packet of its sound."""
    if path.is_dir():
        return [(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in sorted(path.iterdir())]
    found: list[tuple[object, ...]] = []
    with av.open(str(path)) as movie:
        for packet in movie.demux():
            if packet.size:
                # VP9's alpha; other readers' aids, such as the palette of a first picture in grey, are not in the file.
                alpha = [bytes(s) for s in packet.iter_sidedata() if s.data_type == "matroska_block_additional"]
                stored = b"".join([bytes(packet), *alpha])
                digest = hashlib.sha256(stored).hexdigest()
                found.append((packet.stream.index, packet.pts, packet.duration, packet.is_keyframe, digest))
    return found
