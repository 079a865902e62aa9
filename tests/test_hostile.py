"""Files made to hurt: each ends in one clear line, soon, in little memory."""

import os
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from clips import write_clip

from videomatte.cli import main
from videomatte.errors import InputError
from videomatte.io import av_source, open_sink, open_source, probe
from videomatte.io.limits import MAX_PIXELS, MAX_SIDE
from videomatte.io.watchdog import Watchdog
from videomatte.types import MatteFrame, TrimapFrame


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *, text: bytes = b"") -> bytes:
    """A grey picture of 1 bit, its pixels missing where it is large."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress(bytes(min((width // 8 + 2) * height, 10**6)), 9)
    return b"\x89PNG\r\n\x1a\n" + header + text + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def tiff(width: int, height: int) -> bytes:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(104)


def exr(width: int, height: int) -> bytes:
    def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
        return name + b"\0" + kind + b"\0" + struct.pack("<i", len(value)) + value

    window = struct.pack("<4i", 0, 0, width - 1, height - 1)
    channels = b"".join(name + b"\0" + struct.pack("<4i", 1, 0, 1, 1) for name in (b"B", b"G", b"R")) + b"\0"
    return b"\x76\x2f\x31\x01\x02\0\0\0" + b"".join([
        attribute(b"channels", b"chlist", channels), attribute(b"compression", b"compression", b"\3"),
        attribute(b"dataWindow", b"box2i", window), attribute(b"displayWindow", b"box2i", window),
        attribute(b"lineOrder", b"lineOrder", b"\0"), attribute(b"pixelAspectRatio", b"float", struct.pack("<f", 1)),
        attribute(b"screenWindowCenter", b"v2f", bytes(8)), attribute(b"screenWindowWidth", b"float", bytes(4)),
    ]) + b"\0"  # fmt: skip


def jpeg(width: int, height: int) -> bytes:
    image = pytest.importorskip("PIL.Image")
    import io

    small = io.BytesIO()
    image.new("L", (64, 64)).save(small, "jpeg", progressive=True)
    data = bytearray(small.getvalue())
    at = data.index(b"\xff\xc2")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


MAKERS = {".png": png, ".tif": tiff, ".exr": exr, ".jpg": jpeg}


@pytest.mark.parametrize("size", [(65000, 65000), (MAX_SIDE, MAX_SIDE), (MAX_SIDE + 1, 1), (1, 65000)], ids=str)
@pytest.mark.parametrize("suffix", MAKERS)
def test_images_beyond_the_limits_are_refused_by_their_header(
    suffix: str, size: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / f"bomb{suffix}").write_bytes(MAKERS[suffix](*size))
    with pytest.raises(InputError, match=rf"bomb{suffix}: pictures of {size[0]} x {size[1]} are too large: 16384"):
        open_source(tmp_path / f"bomb{suffix}")


def test_what_is_just_within_the_limits_is_read(tmp_path: Path) -> None:
    assert MAX_SIDE * 64 <= MAX_PIXELS
    (tmp_path / "wide.png").write_bytes(png(MAX_SIDE, 64))
    with open_source(tmp_path / "wide.png") as source:
        (frame,) = source
    assert frame.rgb.shape == (3, 64, MAX_SIDE)


@pytest.mark.parametrize(("codec", "pix_fmt", "mark"), [("qtrle", "argb", b"rle "), ("png", "rgb24", b"png ")])
def test_movies_beyond_the_limits_are_refused(codec: str, pix_fmt: str, mark: bytes, tmp_path: Path) -> None:
    data = bytearray(write_clip(tmp_path / "m.mov", 2, codec=codec, pix_fmt=pix_fmt).read_bytes())
    at = data.index(mark) + 28  # QuickTime File Format, video sample description
    data[at : at + 4] = struct.pack(">HH", 60000, 60000)
    (tmp_path / "bomb.mov").write_bytes(data)
    if codec == "png":  # which believes its pictures
        assert probe(tmp_path / "bomb.mov").width == 168
        return
    with pytest.raises(InputError, match=r"bomb\.mov: .*(too large|larger than 67 million)"):
        probe(tmp_path / "bomb.mov")


def test_texts_of_a_png_are_not_inflated(tmp_path: Path) -> None:
    """64 MiB of text in 64 kB: inflating it takes a quarter of a second, and 3,000 pictures may carry one each."""
    text = png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**26), 9))
    (tmp_path / "text.png").write_bytes(png(64, 48, text=text * 40))
    plain = write_clip(tmp_path / "plain.mov", 20, codec="png", pix_fmt="rgb24")
    loaded = tmp_path / "text.mov"
    with av.open(plain) as source, av.open(loaded, "w") as movie:
        stream = movie.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                data = bytes(packet)
                fat = av.Packet(data[:33] + text + data[33:])  # behind the header
                fat.stream, fat.time_base, fat.is_keyframe = stream, packet.time_base, True
                fat.pts, fat.dts, fat.duration = packet.pts, packet.dts, packet.duration
                movie.mux(fat)
    started = time.process_time()
    with open_source(tmp_path / "text.png") as image, open_source(loaded) as movie, open_source(plain) as reference:
        assert len(list(image)) == 1
        for frame, expected in zip(movie, reference, strict=True):
            assert frame.pts == expected.pts
            assert np.array_equal(frame.rgb, expected.rgb)
    assert time.process_time() - started < 3  # 60 texts cost more than 10 s


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shot.0001.png")
    os.mkfifo(tmp_path / "clip.mp4")
    for path in (tmp_path / "shot.0001.png", tmp_path / "shot.%04d.png", tmp_path, tmp_path / "clip.mp4"):
        with pytest.raises(InputError, match="not a regular file"):
            open_source(path)
    with pytest.raises(InputError, match="not a regular file"):
        open_source("/dev/zero")


def test_links_are_followed_and_loops_are_told(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "shot").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(png(16, 8))
    (tmp_path / "shot" / "f1.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    assert probe(tmp_path / "shot").width == 16
    (tmp_path / "shot" / "f2.png").symlink_to(tmp_path / "shot" / "f2.png")
    with pytest.raises(InputError, match=r"f2\.png: "), open_source(tmp_path / "shot") as source:
        list(source)


@pytest.mark.parametrize(
    "name", ["n\u00b2.png", "\u0663.png", "a\nb.png", "%s%n.png", "x" * 300 + ".png", "%0999999999d.png", "%999d.png"]
)
def test_no_name_is_an_internal_error(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for number in range(2):
        (tmp_path / "folder" / f"{number}{name[-200:]}").write_bytes(png(16, 8))
    with open_source(tmp_path / "folder") as source:
        assert len(list(source)) == 2
    for path in (tmp_path / name, tmp_path / f"{name}.mp4"):
        with pytest.raises(InputError):
            open_source(path)


@pytest.mark.skipif(os.name == "nt" or os.uname().sysname == "Darwin", reason="names are Unicode here")
def test_names_that_are_no_text_are_read(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 2)
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe clip.mp4")
    clip.rename(odd)
    assert probe(odd).frame_count == 2
    words = [sys.executable, "-m", "videomatte", "info", odd]
    done = subprocess.run(words, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"})
    assert done.returncode == 0, done.stderr
    assert b"\\udcff\\udcfe clip.mp4" in done.stdout


def test_a_name_cannot_speak_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(tmp_path / "clip\n\x1b[31mred\u202e.mp4")]) == 1
    said = capsys.readouterr().err
    assert said.endswith("clip\\n\\x1b[31mred\\u202e.mp4: no such file\n")
    assert said.count("\n") == 1


@pytest.mark.parametrize(("field", "at", "value"), [
    ("stsz", 8, (1, 2**31 - 1)), ("stts", 12, (2**31 - 1, 1)), ("stts", 12, (2**32 - 1, 2**32 - 1)),
    ("mdhd", 16, (0, 0)), ("mdhd", 16, (2**32 - 1, 2**32 - 1)), ("elst", 12, (2**32 - 1, 2**31 - 1)),
    ("stco", 12, (2**32 - 1, 0)), ("tkhd", 40, (2**31 - 1, 2**31 - 1)),
])  # fmt: skip
def test_absurd_numbers_in_an_index_end_in_one_line_or_frames(
    field: str, at: int, value: tuple[int, int], tmp_path: Path
) -> None:
    data = bytearray(write_clip(tmp_path / "clip.mp4", 12, options={"bf": "2"}).read_bytes())
    place = data.index(field.encode()) + at
    data[place : place + 8] = struct.pack(">II", *value)
    (tmp_path / "bad.mp4").write_bytes(data)
    try:
        with open_source(tmp_path / "bad.mp4") as source:
            assert len(list(source)) <= 12
    except InputError as error:
        assert "bad.mp4" in str(error)  # noqa: PT017


def test_damaged_sound_that_is_copied_does_not_cost_the_pictures(tmp_path: Path) -> None:
    """AAC of a transport stream is stored otherwise in MOV: a packet without its header cannot be brought over."""
    clip = write_clip(tmp_path / "clip.ts", 40, seconds_of_sound=2)
    with av.open(clip) as container:
        whole = [bytes(packet) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(clip.read_bytes())
    for packet in whole[20:23]:
        at = data.index(packet[:40])
        data[at + 2 : at + 7] = b"\xff" * 5  # the sync word stays, what follows is no header
    clip.write_bytes(data)
    with open_source(clip) as source, open_sink(tmp_path / "matte.mov", source.info) as sink:
        frames = list(source)
        for frame in frames:
            opaque = torch.ones(1, frame.height, frame.width)
            sure = torch.full_like(opaque, 255, dtype=torch.uint8)
            sink.write(MatteFrame(TrimapFrame(frame, sure, "key"), opaque))
    assert len(frames) == 40
    assert any("damaged" in note for note in sink.notes), sink.notes
    with av.open(tmp_path / "matte.mov") as movie:
        assert movie.streams.video[0].frames == 40
        assert 60 <= movie.streams.audio[0].frames < len(whole) == 94  # the demuxer takes what follows for one packet


def test_a_decoder_that_never_returns_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("videomatte.io.watchdog.PATIENCE_SECONDS", 1.5)
    watchdog = Watchdog(tmp_path / "clip.mp4")
    assert watchdog.call(lambda value: value + 1, 2) == 3

    def long_but_moving() -> str:
        for _ in range(8):
            time.sleep(0.25)
            watchdog.alive()
        return "done"

    assert watchdog.call(long_but_moving) == "done"
    with pytest.raises(ZeroDivisionError):
        watchdog.call(lambda: 1 // 0)
    gate = threading.Event()
    for _ in range(2):
        with pytest.raises(InputError, match=r"clip\.mp4: the decoder has given nothing for 2 s"):
            watchdog.call(gate.wait)
        assert watchdog.stuck
    watchdog.close()  # does not wait for it
    gate.set()


def test_a_stuck_decoder_ends_the_run_with_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stuck for real, at its fourth packet: the run ends all the same, and leaves nothing."""
    clip = write_clip(tmp_path / "clip.mp4", 12)
    gate, plain = threading.Event(), av_source.decodable

    def stuck(*arguments: Any) -> Iterator[Any]:
        for number, packet in enumerate(plain(*arguments)):
            if number == 3:
                gate.wait()
            yield packet

    monkeypatch.setattr("videomatte.io.watchdog.PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(av_source, "decodable", stuck)
    try:
        words = ["matte", str(clip), "-o", str(tmp_path / "matte.mov"), "--key", "green", "--quiet"]
        assert main(words) == 1
        assert "clip.mp4: the decoder has given nothing for 1 s" in capsys.readouterr().err
        assert not [t for t in threading.enumerate() if t.name == "videomatte-boundary"]
    finally:
        gate.set()
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_no_source_leaves_a_thread_behind(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 6)
    before = threading.active_count()
    for _ in range(5):
        with open_source(clip) as source:
            next(iter(source))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError):
        open_source(tmp_path / "bad.png")
    assert threading.active_count() == before
