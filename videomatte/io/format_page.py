"""The table of formats as the page ``docs/formats.md``, so that code and page cannot differ.

To write it anew: ``python -c "from videomatte.io.format_page import format_page; print(format_page(), end='')" >
docs/formats.md``.
"""

from __future__ import annotations

from videomatte.io.containers import MKV, MOV, MP4, WEBM
from videomatte.io.formats import FORMATS, Content, ImageFormat, VideoFormat

__all__ = ["format_page"]

_INTRODUCTION = """\
# Formats

The extension chooses: the first row with it that can hold what is asked. `--format NAME` chooses a row by its name.
A pair that cannot be is refused before any work, with the nearest that works. This page is made from the table in
`videomatte/io/formats.py`.

Several outputs are written in one pass, each named by its own `-o`. Words before a name and a colon say what that one
holds (`both`, `foreground`, `alpha`, `composite`) and, where the extension does not say enough, its format:

```sh
videomatte matte clip.mp4 -o matte.mov -o alpha:matte.mp4 -o vp9-fast:preview.webm -o foreground,hevc:colour.mp4
```

`--content` and `--format` say it for all outputs that do not. Composites are of `videomatte greenscreen`.

Colour is straight, in the clip's own transfer; see [colour.md](colour.md). Alpha is written plane by plane and never
passes through a colour converter. Fully transparent and fully opaque come out exactly in all but the lossy VP9 rows.
The error is the largest found when it is read back, in steps of 1/255; for VP9 it is that of the worst single pixel in
hair over noise, and with `vp9` one pixel of a thousand is off by more than 9.
"""

_NOTES = """\
Clips deeper than 8 bits, and PQ and HLG, are never written to 8 bits of colour: `.mp4` becomes HEVC by itself, other
8-bit formats are refused. A matte alone has no colour and may be written from any clip.

A folder (a name with a slash at its end, or without extension) holds images numbered by six digits: as those of the
source are where it is a numbered sequence, else from 0.

Premultiplied files say so in their comment ("premultiplied alpha"), as straight ones do; OpenEXR has no place for it.
PNG and WebM are straight by their standards, and the TIFF and PNG-movie encoders mark their alpha as straight, so
those are not written premultiplied. OpenEXR readers expect linear light and premultiplied colour unless told
otherwise: videomatte does not linearise, so set the reader to the clip's own transfer.
"""

_SOUND_NOTES = """\
All tracks are kept with their languages, each packet at its own time: late starts, gaps and lead-ins stay what they
are. Of a part of a clip (`--start`, `--end`) the packets are kept that overlap it, so sound begins and ends within a
packet (AAC: 21 ms) of the pictures, in sync with them. A track that nobody can decode is left out, and the report says
so; so are packets that are damaged, or more than five minutes after the one before where sound is encoded anew.
`--no-audio` leaves all out; images hold none.

A part keeps the clip's clock: with `--start 10s` the first picture of a movie comes at 10 s, and lies over the clip by
itself. MOV and MP4 say so by an edit list of each track, WebM and MKV by the packets' times. Players that show a file
from its first picture on (ffmpeg reads it so, to the tick) begin at once, those that show it from time 0 stay empty
until then: `ffmpeg -i part.mov -map 0 -c copy moved.mov` makes it begin at 0.
"""

_CONTENTS: dict[Content, str] = {"both": "colour + alpha", "foreground": "colour", "alpha": "matte"}


def format_page() -> str:
    """The page, Markdown."""
    rows = ["| `--format` | file | is | holds | colour | alpha or matte | error of alpha | premultiplied | opens in |"]
    rows.append("|---" * 9 + "|")
    rows += [_row(f) for f in FORMATS]
    sound = ["| file | sound copied bit for bit | everything else becomes | time |", "|---" * 4 + "|"]
    for c in (MOV, MP4, WEBM, MKV):
        copied = ", ".join(sorted({name if not name.startswith("pcm_") else "PCM" for name in c.sound_copied}))
        rate = f" at {c.sound_rate} Hz" if c.sound_rate else ""
        time = "to the tick" if c.keeps_ticks else "to the millisecond"
        sound.append(f"| {c.suffix} | {copied} | {c.sound_codec.removeprefix('lib')}{rate} | {time} |")
    tables = "\n".join(rows), "\n".join(sound)
    return f"{_INTRODUCTION}\n{tables[0]}\n\n{_NOTES}\n## Sound and time\n\n{tables[1]}\n\n{_SOUND_NOTES}"


def _row(f: VideoFormat | ImageFormat) -> str:
    kind = "half floats" if f.name == "exr" else f"{f.colour_bits} bits"
    lossy = "all codes kept" if f.colour_exact else "lossy" if f.name != "exr" else "11 significant bits"
    subsampled = ", 4:2:0" if "420" in f.planes.get("foreground", "") else ""
    holds = ", ".join(_CONTENTS[content] for content in f.planes)
    alpha = f"{f.alpha_bits} bits" if f.alpha_bits else "none"
    error = f"{f.alpha_error:g}" if f.alpha_bits else "-"
    cells = [
        f"`{f.name}`",
        f.suffix,
        f.title,
        holds,
        f"{kind}{subsampled}, {lossy}" if f.colour_bits else "none",
        "half floats" if f.name == "exr" else alpha,
        error,
        "on request" if f.premultiplied else "no",
        f.opens_in,
    ]
    return "| " + " | ".join(cells) + " |"
