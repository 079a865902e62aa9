"""The models that go by a name: what each is, what its licences are, where its weights are found and fetched from."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from videomatte.errors import ModelError
from videomatte.models.checkpoint import WEIGHT_FILES

__all__ = ["ModelEntry", "cached", "describe", "find", "locate", "models"]


@dataclass(frozen=True, kw_only=True)
class ModelEntry:
    """A model of the registry."""

    name: str
    """What ``--model`` takes; a network on the hub by its name there."""
    summary: str
    """What it is, in some words."""
    source: Literal["built in", "pymatting", "hub"]
    """Where it is found: in this package, in the package PyMatting, or on the Hugging Face hub."""
    megabytes: int
    """Size of the weights as they are downloaded."""
    normalisation: str
    """What RGB in 0..1 is subtracted and divided by inside of it."""
    code_licence: str
    """Licence of the code that trained or defines it, and of the weights as far as they are covered by one."""
    data_licence: str
    """Terms of the pictures it was trained on."""

    @property
    def present(self) -> bool:
        """Whether it can be used without a download."""
        if self.source == "pymatting":
            return find_spec("pymatting") is not None
        return self.source == "built in" or cached(self.name) is not None

    @property
    def where(self) -> str:
        """Where it is now, or where it is to be had."""
        if self.source == "pymatting":
            return 'pip install "videomatte[classic]"'
        return "this package" if self.source == "built in" else str(cached(self.name) or _address(self.name))


_ADOBE = "Adobe Composition-1k: research only, on request from Adobe"
_DISTINCTIONS = "Distinctions-646: research only, on request from its authors"

_ENTRIES = (
    ModelEntry(
        name="embedded",
        summary="matting Laplacian refined by a small ViTMatte",
        source="built in",
        megabytes=0,
        normalisation="none",
        code_licence="Apache-2.0",
        data_licence="procedural and public domain, see the model card",
    ),
    ModelEntry(
        name="laplacian",
        summary="matting Laplacian solved on the device, no weights",
        source="built in",
        megabytes=0,
        normalisation="none",
        code_licence="Apache-2.0",
        data_licence="none",
    ),
    ModelEntry(
        name="closed-form",
        summary="closed-form matting by PyMatting, no weights",
        source="pymatting",
        megabytes=0,
        normalisation="none",
        code_licence="MIT",
        data_licence="none",
    ),
    *(
        ModelEntry(
            name=f"hustvl/vitmatte-{size}-{data}",
            summary=f"ViTMatte-{size[0].upper()}",
            source="hub",
            megabytes=megabytes,
            normalisation="mean 0.5, deviation 0.5, as its preprocessor_config.json says",
            code_licence="MIT, weights Apache-2.0",
            data_licence=terms,
        )
        for data, terms in (("composition-1k", _ADOBE), ("distinctions-646", _DISTINCTIONS))
        for size, megabytes in (("small", 103), ("base", 387))
    ),
)

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


def models() -> tuple[ModelEntry, ...]:
    """All models that go by a name."""
    return _ENTRIES


def describe(entries: tuple[ModelEntry, ...], *, as_json: bool = False) -> str:
    """The models in words, some lines each, or as JSON."""
    if as_json:
        facts = [{**asdict(entry), "present": entry.present, "where": entry.where} for entry in entries]
        return json.dumps(facts, indent=2)
    return "\n".join(
        f"{entry.name}  ({'ready' if entry.present else f'to be downloaded, {entry.megabytes} MB'})\n"
        f"    {entry.summary}; {entry.where}\n"
        f"    normalisation: {entry.normalisation}\n"
        f"    code {entry.code_licence}; training data: {entry.data_licence}"
        for entry in entries
    )


def find(name: str) -> ModelEntry | None:
    """The model of that name, with or without its owner on the hub; None where there is none."""
    return next((entry for entry in _ENTRIES if name in (entry.name, entry.name.rpartition("/")[2])), None)


def locate(name: str) -> Path:
    """The checkpoint that a name or path stands for, downloaded to the hub's cache if need be.

    A download goes on where an earlier one was cut off, and is compared with the checksum that the hub has for it.

    Args:
        name: path of a checkpoint; name of a network of the registry; any ``owner/name`` on the hub in transformers'
            layout.

    Returns:
        A folder in transformers' layout, or the path as given.

    Raises:
        ModelError: there is no such model, or it cannot be downloaded; the message says what to put where.
    """
    if Path(name).exists():
        return Path(name)
    entry = find(name)
    repository = entry.name if entry is not None and entry.source == "hub" else name
    if entry is None and (
        not _HUB_NAME.fullmatch(name) or Path(name).suffix in (".safetensors", ".pth", ".pt", ".bin")
    ):
        known = [each.name for each in _ENTRIES]
        close = difflib.get_close_matches(name, [*known, *(each.rpartition("/")[2] for each in known)], n=1)
        hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
        raise ModelError(f"no model is called {name!r} and no file has that name: {hint}")
    return cached(repository) or _download(repository)


def cached(repository: str) -> Path | None:
    """The folder of a network of the hub on this machine, or None where it has not been downloaded."""
    from huggingface_hub import try_to_load_from_cache

    for weights in WEIGHT_FILES:
        files = [try_to_load_from_cache(repository, name) for name in (weights, "config.json")]
        if all(isinstance(file, str) and Path(file).exists() for file in files):
            return Path(str(files[0])).parent
    return None


def _download(repository: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError, RepositoryNotFoundError

    def fetch(name: str, *, optional: bool = False) -> Path | None:
        try:
            return Path(hf_hub_download(repository, name))
        except LocalEntryNotFoundError:  # its parent class means something else: the hub was not reached
            raise
        except EntryNotFoundError:
            if optional:
                return None
            raise

    try:
        fetch("config.json")
        fetch("preprocessor_config.json", optional=True)
        weights = fetch(WEIGHT_FILES[0], optional=True) or fetch(WEIGHT_FILES[1])
        assert weights is not None
        _verify(repository, weights)
    except ModelError:
        raise
    except RepositoryNotFoundError as error:
        raise ModelError(f"{repository}: the hub at {_hub()} has no such model, or keeps it private") from error
    except EntryNotFoundError as error:
        if not isinstance(error, LocalEntryNotFoundError):
            reason = f"{repository}: not a network in transformers' layout: it lacks config.json or weights"
            raise ModelError(reason) from error
        raise ModelError(_by_hand(repository, "the hub cannot be reached")) from error
    except Exception as error:  # what the hub's client raises shares no class across its versions
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise ModelError(_by_hand(repository, reason)) from error
    return weights.parent


def _verify(repository: str, weights: Path) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    expected = get_hf_file_metadata(hf_hub_url(repository, weights.name)).etag or ""
    if len(expected) != 64:  # small files kept in git itself have a checksum of another kind
        return
    with weights.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != expected:
        weights.resolve().unlink()
        weights.unlink(missing_ok=True)
        raise ModelError(f"{repository}: the download is damaged (its SHA-256 is not the hub's): run the command again")


def _by_hand(repository: str, reason: str) -> str:
    return (
        f"{repository} is not on this machine and cannot be downloaded ({reason}): fetch config.json,"
        f" preprocessor_config.json and {WEIGHT_FILES[0]} from {_address(repository)}/tree/main on another machine,"
        " put them into one folder here, and give --model that folder"
    )


def _address(repository: str) -> str:
    return f"{_hub()}/{repository}"


def _hub() -> str:
    from huggingface_hub import constants

    return constants.ENDPOINT
