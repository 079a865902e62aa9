"""RobustVideoMatting's inference loop, for a Python that has torchvision; `benchmarks.throughput rvm` starts it.

    python rvm_loop.py CHECKOUT CLIP OUTPUT FRAMES

What ``convert_video`` of its ``inference.py`` does at its command line's settings, with the model scripted and frozen
as its ``Converter`` does: float32, one frame at a time, the states handed on, alpha written as H.264. Its own reader
needs pims 0.5 and its writer an old PyAV, so both are written anew here around PyAV; pixels take the same way (PIL
image, ``ToTensor``; three equal channels of bytes). Weights are random, which does for speed. Works through the clip's
first frames once for every line it reads.
"""

import itertools
import sys

import av
import torch
from PIL import Image
from torchvision import transforms

VARIANT, DOWNSAMPLE_RATIO = "mobilenetv3", 0.375
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def convert(model: torch.nn.Module, clip: str, output: str, frames: int) -> None:
    with av.open(clip) as source, av.open(output, "w") as sink:
        video = source.streams.video[0]
        matte = sink.add_stream("h264", rate=video.average_rate)
        matte.width, matte.height, matte.pix_fmt, matte.bit_rate = video.width, video.height, "yuv420p", 4_000_000
        to_tensor, states = transforms.ToTensor(), [None] * 4
        for frame in itertools.islice(source.decode(video), frames):
            picture = to_tensor(Image.fromarray(frame.to_ndarray(format="rgb24")))
            _, alpha, *states = model(picture.to(DEVICE)[None, None], *states, DOWNSAMPLE_RATIO)
            grey = alpha[0].repeat(1, 3, 1, 1).mul(255).byte().cpu().permute(0, 2, 3, 1).numpy()
            sink.mux(matte.encode(av.VideoFrame.from_ndarray(grey[0], format="rgb24")))
        sink.mux(matte.encode())


def main(checkout: str, clip: str, output: str, frames: str) -> None:
    sys.path.insert(0, checkout)
    from model import MattingNetwork

    model = torch.jit.freeze(torch.jit.script(MattingNetwork(VARIANT).eval().to(DEVICE)))
    print("ready", flush=True)
    with torch.no_grad():
        for _ in sys.stdin:
            convert(model, clip, output, int(frames))
            print("done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
