"""Sound goes where the pictures go: bit for bit where it can, at its own time always."""

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from readback import picture, read_av

from videomatte.io import open_sink, open_source
from videomatte.io.audio import Audio
from videomatte.io.containers import MKV, MOV, MP4, WEBM, Container
from videomatte.types import MatteFrame, TrimapFrame

RATE = 48000
CLICKS = (0.3, 1.0, 2.2)
LENGTH = 2.6
BY_SUFFIX = {c.suffix: c for c in (MOV, MP4, WEBM, MKV)}


def burst() -> np.ndarray:
    """The click that is listened for: 4 ms of 3 kHz, swelling and dying, float64."""
    return np.sin(2 * np.pi * 3000 * np.arange(192) / RATE) * np.hanning(192)


def samples(rate: int = RATE) -> np.ndarray:
    """``[n]`` float32: silence, and a click that begins at each of ``CLICKS``."""
    track = np.zeros(int(LENGTH * rate), np.float32)
    click = np.interp(np.arange(0, 192, RATE / rate), np.arange(192), burst())
    for at in CLICKS:
        track[round(at * rate) : round(at * rate) + len(click)] = 0.8 * click
    return track


def make_clip(
    path: Path,
    codec: str,
    *,
    tracks: tuple[str, ...] = ("und",),
    layout: str = "stereo",
    rate: int = RATE,
    start: Fraction = Fraction(0),
    hole: tuple[float, float] | None = None,
    pts: list[int] | None = None,
) -> Path:
    """A clip of 60 tiny pictures at 25 a second with a click track in each language.

    Args:
        start: seconds by which the sound comes late.
        hole: seconds between which no packet is stored.
        pts: of the pictures, in 1/1000 s.
    """
    with av.open(path, "w") as container:
        video = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        streams = []
        for language in tracks:
            stream = container.add_stream(codec, rate=rate)
            stream.codec_context.layout = layout
            stream.codec_context.bit_rate = 160_000
            stream.metadata["language"] = language
            streams.append(stream)
        packets = []
        for number, at in enumerate(pts or range(0, 2400, 40)):
            frame = av.VideoFrame.from_ndarray(
                picture(48, 64, number).permute(1, 2, 0).contiguous().numpy(), format="rgb24"
            )
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            packets += video.encode(frame)
        packets += video.encode(None)
        for stream in streams:
            stream.codec_context.open()
            shape = stream.codec_context
            resampler = av.AudioResampler(
                format=shape.format, layout=layout, rate=rate, frame_size=shape.frame_size or 1024
            )
            interleaved = np.repeat(samples(rate), shape.layout.nb_channels)[None]
            sound = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
            sound.sample_rate, sound.time_base, sound.pts = rate, Fraction(1, rate), round(start * rate)
            for piece in [*resampler.resample(sound), *resampler.resample(None), None]:
                packets += stream.encode(piece)
        packets = [p for p in packets if not in_hole(p, hole)]
        for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
            container.mux(packet)
    return path


def in_hole(packet: av.Packet, hole: tuple[float, float] | None) -> bool:
    if hole is None or packet.stream.type != "audio":
        return False
    return hole[0] <= packet.pts * packet.time_base < hole[1]


def carry(
    clip: Path, output: Path, *, start: str | None = None, end: str | None = None, **options: object
) -> list[str]:
    """A run on a clip with an opaque matte; the notes it leaves."""
    options.setdefault("content", "foreground" if output.suffix == ".mp4" else "both")
    with (
        open_source(clip, start=start, end=end) as source,
        open_sink(output, source.info, **options) as sink,
    ):
        for frame in source:
            trimap = torch.full((1, frame.height, frame.width), 255, dtype=torch.uint8)
            sink.write(MatteFrame(TrimapFrame(frame, trimap, "key"), torch.ones(1, frame.height, frame.width)))
    return sink.notes


def packets(path: Path, track: int = 0) -> list[tuple[Fraction, bytes]]:
    with av.open(path) as container:
        return [(p.pts * Fraction(p.time_base), bytes(p)) for p in container.demux(audio=track) if p.size]


def heard(path: Path, track: int = 0) -> list[float]:
    """Seconds at which the clicks begin, by correlation with the click; decoded with PyAV, by the frames' own times."""
    with av.open(path) as container:
        frames = [
            (float(frame.pts * frame.time_base), frame.to_ndarray(), frame.format.is_planar, frame.layout.nb_channels)
            for frame in container.decode(audio=track)
            if frame.sample_rate == RATE
        ]
    length = int((frames[-1][0] + 1) * RATE)
    timeline = np.zeros(length)
    for at, values, planar, channels in frames:
        mono = values[0] if planar else values[0, ::channels]
        scale = 1 if mono.dtype.kind == "f" else np.iinfo(mono.dtype).max
        first = round(at * RATE)
        mono = mono[max(0, -first) :].astype(float) / scale
        timeline[max(0, first) : max(0, first) + len(mono)] = mono
    return clicks_in(timeline)


def heard_by_ffmpeg(path: Path, track: int = 0) -> list[float]:
    """The same by the system's ffmpeg, which lays the sound on a clock that starts with 0."""
    if not shutil.which("ffmpeg"):
        pytest.skip("no ffmpeg on this system to listen with: apt install ffmpeg")
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        path,
        "-map",
        f"0:a:{track}",
        "-af",
        "aresample=48000:async=1:first_pts=0",
    ]
    command += ["-copyts", "-ac", "1", "-f", "f32le", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return clicks_in(np.frombuffer(raw, "<f4").astype(float))


def clicks_in(timeline: np.ndarray) -> list[float]:
    match = np.correlate(timeline, burst(), "valid")
    peaks = []
    while (best := int(match.argmax())) and match[best] > 10:  # a click correlates with 38
        peaks.append(best / RATE)
        match[max(0, best - 4800) : best + 4800] = 0
    return sorted(peaks)


Listener = Callable[[Path], list[float]]
listeners = pytest.mark.parametrize("listen", [heard, heard_by_ffmpeg], ids=["pyav", "ffmpeg"])


COPIED = [
    ("aac", ".mp4", ".mov"), ("aac", ".mov", ".mp4"), ("aac", ".mp4", ".mkv"), ("aac", ".ts", ".mov"),
    ("pcm_s16le", ".mov", ".mov"), ("pcm_s24le", ".mov", ".mkv"), ("libmp3lame", ".mp4", ".mov"),
    ("ac3", ".mp4", ".mov"), ("alac", ".mkv", ".mov"), ("flac", ".mkv", ".mp4"), ("flac", ".mkv", ".mkv"),
    ("libopus", ".mkv", ".webm"), ("libopus", ".mkv", ".mp4"),
]  # fmt: skip


@pytest.mark.parametrize(("codec", "source", "output"), COPIED)
def test_sound_is_copied_bit_for_bit_at_its_own_time(codec: str, source: str, output: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / f"clip{source}", codec)
    assert carry(clip, tmp_path / f"matte{output}") == []
    before, after = packets(clip), packets(tmp_path / f"matte{output}")
    assert len(before) == len(after) or source == ".ts"
    if source != ".ts":  # there every AAC packet carries a header of its own, which other containers store once
        assert [data for _, data in before] == [data for _, data in after]
        assert stream_hash(clip) == stream_hash(tmp_path / f"matte{output}")
    # Sound against pictures: to the sample, and to the millisecond that Matroska counts in
    slack = Fraction(1, 1000) if {source, output} & {".mkv", ".webm"} else Fraction(1, 10_000)
    lead_before = before[0][0] - read_av(clip).pts[0]
    lead_after = after[0][0] - read_av(tmp_path / f"matte{output}").pts[0]
    assert abs(lead_before - lead_after) <= slack
    assert all(
        abs((a - before[0][0]) - (b - after[0][0])) <= slack for (a, _), (b, _) in zip(before, after, strict=False)
    )
    assert read_av(clip).pts == pytest.approx(read_av(tmp_path / f"matte{output}").pts, abs=0.0005)


def stream_hash(path: Path) -> str:
    """Hash of the packets of the first sound track, by the system's ffmpeg."""
    if not shutil.which("ffmpeg"):
        return "no ffmpeg"
    command = ["ffmpeg", "-v", "error", "-i", path, "-map", "0:a:0", "-c", "copy", "-f", "streamhash", "-"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


ENCODED = [
    ("aac", ".mp4", ".webm", 48000), ("aac", ".mp4", ".webm", 44100), ("flac", ".mkv", ".mov", 48000),
    ("libopus", ".mkv", ".mov", 48000), ("pcm_s16le", ".mov", ".mp4", 48000), ("pcm_s16le", ".mov", ".webm", 48000),
    ("mp2", ".ts", ".mov", 48000), ("pcm_alaw", ".mov", ".mkv", 48000),
]  # fmt: skip


@listeners
@pytest.mark.parametrize(("codec", "source", "output", "rate"), ENCODED)
def test_sound_the_container_does_not_take_is_encoded_in_sync(
    codec: str, source: str, output: str, rate: int, listen: Listener, tmp_path: Path
) -> None:
    clip = make_clip(tmp_path / f"clip{source}", codec, rate=rate)
    notes = carry(clip, tmp_path / f"matte{output}")
    container: Container = BY_SUFFIX[output]
    assert [container.suffix in n and "does not take: encoded as" in n for n in notes] == [True]
    with av.open(tmp_path / f"matte{output}") as movie:
        found = movie.streams.audio[0].codec_context
        assert found.codec.canonical_name == container.sound_codec.removeprefix("lib")
        assert found.layout.name == "stereo"
    # A transport stream starts after a second or so, pictures and sound alike
    begun = float(read_av(clip).pts[0])
    assert float(read_av(tmp_path / f"matte{output}").pts[0]) == pytest.approx(begun, abs=0.0005)
    assert listen(tmp_path / f"matte{output}") == pytest.approx([begun + at for at in CLICKS], abs=0.001)


@pytest.mark.parametrize("output", [".mov", ".webm", ".mkv", ".mp4"])
@pytest.mark.parametrize("name", ["audio_starts_1.2s_late", "video_starts_0.8s_late"])
def test_late_starts_are_kept(name: str, output: str, data: Path, tmp_path: Path) -> None:
    clip = data / f"10_awkward/made/{name}.mp4"
    matte = tmp_path / f"matte{output}"
    carry(clip, matte)
    slack = 0 if output in (".mov", ".mp4") else Fraction(1, 1000)
    assert all(abs(a - b) <= slack for a, b in zip(read_av(clip).pts, read_av(matte).pts, strict=True))
    # Opus has 6.5 ms of lead-in before the first sample, and its first packet bears its time
    opus = Fraction(312, RATE) if output == ".webm" else 0
    first = next(t for t, _ in packets(clip) if t >= 0 or output != ".webm")
    assert abs(packets(matte)[0][0] - first + opus) <= Fraction(1, 1000)


@pytest.mark.parametrize("output", [".mov", ".webm"])
def test_a_variable_rate_keeps_its_time_beside_sound(output: str, tmp_path: Path) -> None:
    steps = np.random.default_rng(3).integers(8, 90, 50)
    pts = [0, *np.cumsum(steps).tolist()]
    clip = make_clip(tmp_path / "clip.mkv", "libopus", pts=pts)
    carry(clip, tmp_path / f"matte{output}")
    assert read_av(tmp_path / f"matte{output}").pts == [Fraction(p, 1000) for p in pts]
    assert heard(tmp_path / f"matte{output}") == pytest.approx(CLICKS, abs=0.001)


@pytest.mark.parametrize("output", [".mov", ".mkv", ".webm"])
def test_all_tracks_and_their_languages_are_kept(output: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "aac", tracks=("eng", "fra", "jpn"))
    carry(clip, tmp_path / f"matte{output}")
    with av.open(tmp_path / f"matte{output}") as movie:
        assert [s.language for s in movie.streams.audio] == ["eng", "fra", "jpn"]
    for track in range(3):
        assert heard(tmp_path / f"matte{output}", track) == pytest.approx(CLICKS, abs=0.0015)


@pytest.mark.parametrize("output", [".mov", ".webm", ".mkv"])
@pytest.mark.parametrize("codec", ["aac", "libopus"])
def test_a_part_of_a_clip_takes_its_part_of_the_sound(codec: str, output: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", codec)
    carry(clip, tmp_path / f"matte{output}", start="20", end="40")  # 0.8 s to 1.6 s
    assert heard(tmp_path / f"matte{output}") == pytest.approx([1.0], abs=0.0015)
    times = [float(t) for t, _ in packets(tmp_path / f"matte{output}")]
    # AAC's packets are 21 ms; the encoder of Opus needs 6.5 ms before the first and up to 20 ms after the last
    assert 0.8 - 0.03 <= times[0] <= 0.8 + 0.001
    assert 1.6 - 0.03 <= times[-1] <= 1.6 + 0.03


@pytest.mark.parametrize("output", [".mov", ".webm"])
def test_sound_that_outlasts_the_pictures_is_kept_whole(output: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", "pcm_s16le")  # 2.6 s of sound, 2.4 s of pictures
    carry(clip, tmp_path / f"matte{output}")
    with av.open(tmp_path / f"matte{output}") as movie:
        frames = list(movie.decode(audio=0))
    end = frames[-1].pts * frames[-1].time_base + Fraction(frames[-1].samples, frames[-1].sample_rate)
    assert LENGTH - 0.001 <= end <= LENGTH + 0.021  # Opus ends with a whole packet


def test_a_hole_in_the_sound_stays_a_hole(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "aac", hole=(0.5, 0.8))
    carry(clip, tmp_path / "matte.webm")
    assert heard(tmp_path / "matte.webm") == pytest.approx(CLICKS, abs=0.0015)
    carry(clip, tmp_path / "matte.mov")
    assert heard(tmp_path / "matte.mov") == pytest.approx(CLICKS, abs=0.0015)


def test_a_time_stamp_from_another_day_is_not_waited_for(tmp_path: Path) -> None:
    """Filled with silence, an hour would take 1.4 GB at once."""
    with (
        av.open(make_clip(tmp_path / "clip.mkv", "flac")) as source,
        av.open(tmp_path / "jump.mkv", "w") as movie,
    ):
        streams = {s.index: movie.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.size:
                if packet.stream.type == "audio" and packet.pts * packet.time_base > 2:
                    packet.pts = packet.dts = packet.pts + 3600_000
                packet.stream = streams[packet.stream.index]
                movie.mux(packet)
    notes = carry(tmp_path / "jump.mkv", tmp_path / "matte.webm")
    assert any("damaged" in note for note in notes)
    assert heard(tmp_path / "matte.webm") == pytest.approx(CLICKS[:2], abs=0.0015)


def test_a_sample_rate_that_no_sound_has_is_left_out(tmp_path: Path) -> None:
    data = bytearray(make_clip(tmp_path / "clip.mov", "pcm_s16le").read_bytes())
    at = data.index(b"sowt") + 28  # QuickTime File Format, sound sample description: 16.16 bits
    data[at : at + 4] = b"\0\1\0\0"
    (tmp_path / "slow.mov").write_bytes(data)
    for output in ("matte.webm", "matte.mov"):
        notes = carry(tmp_path / "slow.mov", tmp_path / output)
        assert any("left out: 1 samples a second" in note for note in notes)


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("5.1", 6), ("5.1(side)", 6), ("7.1", 8)])
def test_every_channel_is_kept(layout: str, channels: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "pcm_s16le", layout=layout)
    for output in ("matte.webm", "matte.mp4", "matte.mkv"):
        notes = carry(clip, tmp_path / output)
        assert not any("left out" in note for note in notes)
        with av.open(tmp_path / output) as movie:
            assert movie.streams.audio[0].codec_context.layout.nb_channels == channels
        # PyAV's to_ndarray reads beyond its memory with eight planar channels
        assert heard_by_ffmpeg(tmp_path / output) == pytest.approx(CLICKS, abs=0.001)


def test_sound_lies_beside_its_pictures_in_the_file(tmp_path: Path) -> None:
    """Players read a file from front to back: sound found a second away from its pictures makes them stutter."""
    clip = make_clip(tmp_path / "clip.mov", "pcm_s16le")
    for output in (".mov", ".mkv", ".webm"):
        carry(clip, tmp_path / f"matte{output}")
        with av.open(tmp_path / f"matte{output}") as movie:
            places = sorted((p.pos, p.stream.type, float(p.pts * p.time_base)) for p in movie.demux() if p.size)
        latest = {"audio": 0.0, "video": 0.0}
        for _, kind, time in places:
            latest[kind] = time
            if time < 2.3:
                assert abs(latest["audio"] - latest["video"]) <= 0.5


def test_no_sound_is_one_word_away(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", "pcm_s16le")
    assert carry(clip, tmp_path / "matte.mov", audio=False) == []
    with av.open(tmp_path / "matte.mov") as movie:
        assert not movie.streams.audio
    assert carry(tmp_path / "matte.mov", tmp_path / "again.mov") == [], "a silent clip gives a silent movie"


def test_images_say_that_they_hold_no_sound(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", "pcm_s16le")
    assert [("no sound" in note) for note in carry(clip, tmp_path / "frames")] == [True]
    assert carry(clip, tmp_path / "frames2", audio=False) == []


@pytest.mark.parametrize("output", [".mov", ".webm"])
def test_a_track_nobody_can_decode_is_left_out_with_a_note(output: str, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", "flac", tracks=("eng", "fra"))
    content = clip.read_bytes()
    at = content.index(b"A_FLAC")
    clip.write_bytes(content[:at] + b"A_XXXX" + content[at + 6 :])
    audio = Audio(clip)
    with av.open(tmp_path / f"matte{output}", "w") as movie:
        audio.attach(movie, BY_SUFFIX[output])
        audio.begin(None, Fraction(0))
        audio.finish(Fraction(3), Fraction(3))
    audio.close()
    assert "sound track 0" in audio.notes[0]
    assert "left out" in audio.notes[0]
    with av.open(tmp_path / f"matte{output}") as movie:
        assert [s.language for s in movie.streams.audio] == ["fra"]
    assert heard(tmp_path / f"matte{output}") == pytest.approx(CLICKS, abs=0.001)


def test_damaged_packets_fall_silent_and_the_rest_stays_in_sync(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mov", "aac")
    content = bytearray(clip.read_bytes())
    with av.open(clip) as container:
        broken = [(p.pos, p.size) for p in container.demux(audio=0) if p.size and 0.5 < p.pts * p.time_base < 0.7]
    for position, size in broken:
        content[position : position + size] = hashlib.sha512(bytes([position % 251])).digest()[:1] * size
    clip.write_bytes(content)
    notes = carry(clip, tmp_path / "matte.webm")
    assert any("damaged" in note and "silent" in note for note in notes)
    assert heard(tmp_path / "matte.webm") == pytest.approx(CLICKS, abs=0.001)


def test_both_probes_find_the_sound(tmp_path: Path) -> None:
    """What the system's ffprobe says of a matte's sound agrees with what went in."""
    if not shutil.which("ffprobe"):
        pytest.skip("no ffprobe on this system: apt install ffmpeg")
    clip = make_clip(tmp_path / "clip.mp4", "aac", tracks=("deu",))
    carry(clip, tmp_path / "matte.mov")
    command = ["ffprobe", "-v", "error", "-select_streams", "a", "-show_streams", "-of", "json"]
    first, second = (
        json.loads(subprocess.run([*command, path], check=True, capture_output=True).stdout)["streams"][0]
        for path in (clip, tmp_path / "matte.mov")
    )
    for key in ("codec_name", "profile", "sample_rate", "channels", "channel_layout", "start_time", "nb_frames"):
        assert first[key] == second[key]
    assert second["tags"]["language"] == "ger"
