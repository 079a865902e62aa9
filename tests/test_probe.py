"""What is known of a clip before it is worked on, and what is refused with one clear line."""

import json
import os
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import coded_picture, write_clip

from videomatte.errors import InputError
from videomatte.io import probe
from videomatte.types import AudioInfo, Colour


def test_a_movie_says_what_it_is(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 30, rate=24, options={"bf": "2"}, seconds_of_sound=1)
    info = probe(clip)
    assert (info.path, info.codec, info.pixel_format, info.bit_depth) == (clip, "h264", "yuv420p", 8)
    assert info.container.startswith("mov,mp4")
    assert (info.height, info.width) == (96, 168)
    assert (info.frame_count, info.average_rate, info.duration_seconds) == (30, 24, Fraction(30, 24))
    assert (info.rotation_degrees, info.mirrored, info.sample_aspect, info.has_alpha) == (0, False, 1, False)
    assert info.colour == Colour()
    (sound,) = info.audio
    assert isinstance(sound, AudioInfo)
    assert (sound.codec, sound.sample_rate, sound.channels, sound.language) == ("aac", 48000, 1, None)


def test_unknown_is_none(tmp_path: Path) -> None:
    matroska = probe(write_clip(tmp_path / "clip.mkv", 5))
    assert matroska.frame_count is None
    raw = probe(write_clip(tmp_path / "clip.h264", 5))
    assert raw.frame_count is None
    assert raw.duration_seconds is None
    assert raw.colour.full_range is None


@pytest.mark.parametrize("name", [
    "10_awkward/nasa_13013_hdr.mp4", "10_awkward/bt601_full_range.mp4", "10_awkward/nasa_13013_rotated.mp4",
    "10_awkward/test_non_zero_start.mp4", "10_awkward/made/vfr_irregular.mp4", "10_awkward/made/hlg_10bit_hevc.mp4",
    "10_awkward/made/video_starts_0.8s_late.mp4", "06_greenscreen_real/woman_longhair_A_0-4.8s.mp4",
    "09_real_no_gt/sam2_dog_and_person.mp4",
])  # fmt: skip
def test_it_is_what_ffprobe_says(name: str, data: Path) -> None:
    ffprobe = shutil.which("ffprobe")
    if ffprobe is None:
        pytest.skip("no ffprobe command")
    words = [ffprobe, "-v", "error", "-of", "json", "-select_streams", "v:0", "-show_streams", "-show_frames"]
    done = subprocess.run([*words, "-read_intervals", "%+#1", str(data / name)], capture_output=True, check=True)
    said = json.loads(done.stdout)
    stream, frame = said["streams"][0], said["frames"][0]
    info = probe(data / name)
    turned = info.rotation_degrees in (90, 270)
    assert (info.width, info.height) == (
        (stream["height"], stream["width"]) if turned else (stream["width"], stream["height"])
    )
    assert info.codec == stream["codec_name"]
    assert info.pixel_format == stream["pix_fmt"]
    assert info.frame_count == int(stream["nb_frames"])
    assert info.time_base == Fraction(stream["time_base"])
    assert info.average_rate == Fraction(stream["avg_frame_rate"])
    aspect = Fraction(stream.get("sample_aspect_ratio", "1:1").replace(":", "/"))
    assert info.sample_aspect == aspect
    names = {"bt709": 1, "smpte170m": 6, "bt2020nc": 9, "bt2020": 9, "smpte2084": 16, "arib-std-b67": 18}
    assert info.colour.matrix == names.get(frame.get("color_space"))
    assert info.colour.primaries == names.get(frame.get("color_primaries"))
    assert info.colour.transfer == names.get(frame.get("color_transfer"))
    assert info.colour.full_range == {"tv": False, "pc": True}.get(frame.get("color_range"))


def test_the_pictures_own_tags_win_over_the_containers(data: Path) -> None:
    """The container says BT.709, the stream says BT.2020 and PQ: as every player, we believe the stream."""
    assert probe(data / "10_awkward/nasa_13013_hdr.mp4").colour == Colour(9, False, 9, 16)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=48000)
        cover = container.add_stream("mjpeg", rate=1)
        cover.height, cover.width, cover.pix_fmt = 96, 168, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 48000
        sound.codec_context.layout = "mono"
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
        picture = av.VideoFrame.from_ndarray(coded_picture(1), "rgb24").reformat(format="yuvj420p")
        container.mux(cover.encode(picture))
        container.mux(cover.encode())
    with pytest.raises(InputError, match=r"song\.m4a: no video stream"):
        probe(path)


def test_names_that_look_like_something_else(tmp_path: Path) -> None:
    for name in ("a:b.mp4", "100%d.mp4", "übung 1.mp4", "-i.mp4", "concat:x.mp4"):
        assert probe(write_clip(tmp_path / name, 2)).frame_count == 2


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.mp4", b"", "is empty"),
        ("text.mp4", b"This is a letter, not a movie.\n" * 50, "not readable"),
        ("letter.txt", b"This is a letter, not a movie.\n" * 50, "not readable"),
        ("noise.mov", bytes(range(256)) * 64, "not readable"),
        ("list.mp4", b"ffconcat version 1.0\nfile other.mp4\n", "not readable"),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nother.ts\n", "not readable"),
        ("picture.png", b"\x89PNG\r\n\x1a\n", "not readable|cannot be decoded"),
    ],
)
def test_what_is_no_movie_is_refused(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    write_clip(tmp_path / "other.mp4", 2)
    with pytest.raises(InputError, match=rf"{name}: .*({words})"):
        probe(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "nowhere.mp4")
    with pytest.raises(InputError, match="no images there"):
        probe(tmp_path)
    with pytest.raises(InputError, match="no images there"):
        probe(tmp_path / "shot.%04d.png")
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.mp4")  # opening it would wait for ever
        with pytest.raises(InputError, match="not a regular file"):
            probe(tmp_path / "pipe.mp4")


def test_a_movie_without_frames_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "none.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = 96, 168, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError, match=r"none\.mkv: (no|not)"):
        probe(path)


def test_a_bomb_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """A picture of 20,000 x 20,000 in a kilobyte or two: the size is read from its header, nothing is allocated."""
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 20000, 20000, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(2501 * 20000), 9)
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b""))
    with pytest.raises(InputError, match=r"bomb\.png"):
        probe(path)
