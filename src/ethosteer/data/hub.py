"""Preference datasets of the Hugging Face hub that a study names: their commit and their files.

A dataset's files are those that its README declares for a configuration and a split, or else those
whose paths name them, as the library ``datasets`` reads a repository without a script.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from ethosteer.data.formats.files import kind_of
from ethosteer.errors import InputError
from ethosteer.files import DISK_FULL, writing

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""How paths name the usual splits."""


@dataclass(frozen=True, slots=True)
class HubDataset:
    """A dataset of the hub; ``revision`` is a commit, a branch or a tag, "" for the main branch."""

    repository: str
    revision: str = ""
    config: str = ""
    split: str = "train"

    def commit(self) -> str:
        """Return the commit of ``revision``, from the hub or else from its cache."""
        if re.fullmatch(r"[0-9a-f]{40}", self.revision):
            return self.revision
        return self._snapshot(["README.md"]).name

    def download(self) -> Path:
        """Return the snapshot's folder with the files of the split, downloaded if need be.

        Raises InputError where the hub has no such dataset, configuration or split.
        """
        folder = self._snapshot(["README.md"])
        listed = self._listed(folder)
        selected = self.select(listed, _configurations(folder / "README.md"))
        return self._snapshot(["README.md", *selected])

    def files(self, folder: Path) -> list[Path]:
        """Return the files of the split in a downloaded snapshot, in the order of their names."""
        listed = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
        selected = self.select(listed, _configurations(folder / "README.md"))
        return [folder / name for name in sorted(selected)]

    def select(self, listed: Iterable[str], configurations: Sequence[dict[str, Any]]) -> list[str]:
        """Return those of a repository's files that hold the split.

        Raises InputError that names what there is where there are none.
        """
        names = sorted(name for name in listed if kind_of(Path(name)))
        if configurations:
            patterns = self._declared(configurations)
            selected = [name for name in names if any(fnmatch(name, entry) for entry in patterns)]
        else:
            configured = [name for name in names if not self.config or self.config in _words(name)]
            selected = [name for name in configured if _split_of(name) == self.split]
            if not selected and self.split == "train" and not any(map(_split_of, configured)):
                selected = configured  # without names of splits, everything is for training
        if not selected:
            asked = f"configuration {self.config!r}, split" if self.config else "split"
            raise InputError(
                f"{self.repository}: the hub's dataset has no data files of {asked} "
                f"{self.split!r}; it has {', '.join(names[:6]) or 'none that can be read'}"
            )
        return selected

    def _declared(self, configurations: Sequence[dict[str, Any]]) -> list[str]:
        """Return the patterns of paths that a README declares for the configuration and split."""
        by_name = {str(entry.get("config_name", "default")): entry for entry in configurations}
        default = next(
            (name for name, entry in by_name.items() if entry.get("default")),
            "default" if "default" in by_name else next(iter(by_name)),
        )
        entry = by_name.get(self.config or default)
        if entry is None:
            raise InputError(
                f"{self.repository}: the hub's dataset has no configuration {self.config!r}; it "
                f"has {', '.join(by_name)}"
            )
        data_files = entry.get("data_files", [])
        if isinstance(data_files, str):
            return [data_files] if self.split == "train" else []
        patterns: list[str] = []
        for declared in data_files if isinstance(data_files, list) else ():
            if isinstance(declared, str) and self.split == "train":
                patterns.append(declared)
            elif isinstance(declared, dict) and declared.get("split") == self.split:
                path = declared.get("path", [])
                paths = path if isinstance(path, list) else [path]
                patterns += [entry for entry in paths if isinstance(entry, str)]
        return patterns

    def _listed(self, folder: Path) -> list[str]:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

        try:
            return HfApi().list_repo_files(
                self.repository, revision=folder.name, repo_type="dataset"
            )
        except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
            # out of reach: what was downloaded before, if it was
            return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]

    def _snapshot(self, patterns: list[str]) -> Path:
        """Download files into the hub's cache; the folder returned is named by the commit."""
        from huggingface_hub import constants, snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            with writing(Path(constants.HF_HUB_CACHE), DISK_FULL):
                return Path(
                    snapshot_download(
                        self.repository,
                        repo_type="dataset",
                        revision=self.revision or None,
                        allow_patterns=patterns,
                    )
                )
        except (HfHubHTTPError, HFValidationError, OSError, ValueError) as fault:
            raise InputError(
                f"dataset {self.repository} at revision {self.revision or 'main'} could not be "
                f"downloaded from the hub ({type(fault).__name__}); check its name, and log in "
                "with `hf auth login` if it is gated"
            ) from fault


def _configurations(readme: Path) -> list[dict[str, Any]]:
    """Return the configurations that a dataset's README declares with their files."""
    from huggingface_hub import metadata_load

    try:
        metadata = (metadata_load(readme) if readme.is_file() else None) or {}
    except Exception as fault:  # of the YAML parser, or of the file's encoding
        raise InputError(f"{readme}: its metadata cannot be read: {fault}") from fault
    declared = metadata.get("configs") or []
    if not isinstance(declared, list):
        raise InputError(f"{readme}: its metadata's configs must be a list")
    return [entry for entry in declared if isinstance(entry, dict) and entry.get("data_files")]


def _words(name: str) -> set[str]:
    """Return the folders of a path, and the words of its file's name."""
    *folders, file = name.split("/")
    return {*folders, *re.split(r"[^A-Za-z0-9]+", " ".join((*folders, file)))}


def _split_of(name: str) -> str | None:
    """Return the split that a path names: before a shard's number, or by the last such word."""
    if shard := re.fullmatch(r"(?:.*/)?(\w+)-\d{5}-of-\d{5}\.\w+", name):
        return shard[1]
    splits = {way: split for split, ways in SPLIT_WORDS.items() for way in ways}
    words = [word.lower() for word in re.split(r"[^A-Za-z0-9]+", name)]
    return next((splits[word] for word in reversed(words) if word in splits), None)
