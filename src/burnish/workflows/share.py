"""Share a refiner or labelled data on the Hugging Face hub, and fetch what others shared.

A refiner is a folder with card.json and becomes a model there; labels are a folder with
data_card.json and become a data set. What is sent is what is fetched, file by file, but for a
README.md that nobody has written by hand: that page is made from the card.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from burnish.annotation.folder import DATA_CARD, MADE_OF, README, finished
from burnish.annotation.readme import readme
from burnish.errors import HubError, InputError, OutputError, RefinerError, UsageError
from burnish.io.labels import labelled_files
from burnish.refiners.engines.exports import SOURCE_FILE
from burnish.refiners.folder import read_refiner
from burnish.refiners.loading import load_refiner
from burnish.spec import CARD_FILE, HUB
from burnish.workflows.hub_readme import OURS, labels_page, refiner_page

if TYPE_CHECKING:
    from burnish.io.hub import Repository

REFINER, LABELS = "refiner", "labels"
_STATE = "state"  # of a training that is under way, in a refiner's folder
_WEIGHTS = (
    ".safetensors",
    ".safetensors.index.json",
    ".onnx",
    ".onnx.data",
    ".npz",
    ".xml",
    ".bin",
)
_ROWS = (".jsonl", ".jsonl.gz", ".jsonl.zst")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"(?!.*(?:--|\.\.|\.git$))(?=.{{3,96}}$){_PART}/{_PART}")  # the hub's rules


@dataclass(frozen=True, slots=True)
class Parcel:
    """What is to be sent: each file's path, or its bytes where it is made for the hub.

    `what` is REFINER or LABELS; `page_is_made` whether README.md is no page that somebody wrote;
    `notes` what its owner should know before.
    """

    what: str
    title: str
    files: Mapping[str, Path | bytes]
    page_is_made: bool
    notes: tuple[str, ...] = ()

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each file."""
        return {
            name: len(source) if isinstance(source, bytes) else source.stat().st_size
            for name, source in self.files.items()
        }


@dataclass(frozen=True, slots=True)
class Pushed:
    """Where it is now; which older files went; whether a page written there was kept."""

    address: str
    removed: tuple[str, ...]
    kept_page: bool


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was fetched, REFINER or LABELS, and its folder."""

    what: str
    folder: Path


def place_of(target: str) -> str:
    """The name in "hf:organisation/name". Raises UsageError if it is none."""
    name = target.removeprefix(HUB)
    if not target.startswith(HUB) or not _NAME.fullmatch(name):
        raise UsageError(f"{target!r} is no place on the hub; write {HUB}organisation/name")
    return name


# --------------------------------------------------------------------------------------------- push


@contextmanager
def packed(folder: Path, target: str, *, with_answers: bool = False) -> Iterator[Parcel]:
    """What of a folder is shared as `target`; while the block runs, labels are not written anew.

    Hidden files stay here, a training's state, what engines made of a model, and unless
    `with_answers` what labels are made of: the teacher's answers and the sample.

    Raises UsageError for a wrong name, RefinerError for a refiner that is not whole or can not be
    loaded, InputError for labels that are not whole and for a folder that is neither, OutputError
    if a process writes labels into it.
    """
    name = place_of(target)
    has_card, has_data_card = ((folder / file).is_file() for file in (CARD_FILE, DATA_CARD))
    if has_card and has_data_card:
        raise InputError(f"{folder} holds {CARD_FILE} and {DATA_CARD}; share them from two folders")
    if has_card:
        yield _refiner(folder, name)
    elif has_data_card:
        with finished(folder) as card:
            hidden = set() if with_answers else set(MADE_OF)
            files = _files(folder, hidden)
            yield _labels(folder, card, files)
    else:
        raise InputError(
            f"{folder} is nothing to share: it has no {CARD_FILE}, as a refiner has, and no "
            f"{DATA_CARD}, as finished labels of burnish annotate have"
        )


def push(
    parcel: Parcel,
    target: str,
    *,
    private: bool = False,
    message: str | None = None,
    revision: str | None = None,
) -> Pushed:
    """Sends a parcel in one commit; the repository and the branch `revision` are made if missing.

    Where an earlier push had weights or labels that this one has not, such as parts of a larger
    model, they are removed. A README.md that was written on the hub stays.

    Raises UsageError for a wrong name, HubError if the hub can not be reached or refuses,
    MissingExtra without the hub's library.
    """
    name = place_of(target)
    from burnish.io import hub

    kind = hub.MODEL if parcel.what == REFINER else hub.DATASET
    place = hub.prepare(name, kind, private=private, revision=revision)
    kept_page = (
        parcel.page_is_made
        and README in place.files
        and OURS.encode() not in hub.read(place, README)
    )
    files = {n: source for n, source in parcel.files.items() if not (kept_page and n == README)}
    removed = _outdated(parcel, place)
    hub.commit(place, files, removed=removed, message=message or parcel.title, revision=revision)
    return Pushed(place.address, removed, kept_page)


def _refiner(folder: Path, name: str) -> Parcel:
    card = read_refiner(folder)
    if card.kind == "tagger":  # small enough to be tried
        for stage in card.stages:
            load_refiner(str(folder), stage)
    files: dict[str, Path | bytes] = dict(_files(folder, {_STATE}))
    for name_of_file in _made_by_engines(files):
        del files[name_of_file]
    made = _is_made(folder / README)
    if made:
        files[README] = refiner_page(card, name).encode()
    title = f"{card.name} {card.version}, a refiner for burnish"
    return Parcel(REFINER, title, dict(sorted(files.items())), made)


def _labels(folder: Path, card: dict[str, object], found: Mapping[str, Path]) -> Parcel:
    files: dict[str, Path | bytes] = dict(found)
    told = readme(card).encode("utf-8", "replace")
    made = _is_made(folder / README) or (folder / README).read_bytes() == told
    if made:
        shared = [file for file in labelled_files(folder) if file.path.name in found]
        files[README] = labels_page(told.decode(), card, shared).encode()
    waiting = card.get("unanswered")
    notes = (f"{waiting:,} documents of the sample have no labels yet",) if waiting else ()
    title = f"{card['name']}, labels made with burnish"
    return Parcel(LABELS, title, dict(sorted(files.items())), made, notes)


def _files(folder: Path, left_out: set[str]) -> dict[str, Path]:
    """The folder's files by their names in it; none that is hidden, or begins with `left_out`."""
    try:
        paths = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    except OSError as error:
        raise InputError(f"can not read {folder}: {error.strerror or error}") from None
    return {
        name.as_posix(): path
        for name, path in sorted(paths.items())
        if name.parts[0] not in left_out and not any(p.startswith(".") for p in name.parts)
    }


def _is_made(page: Path) -> bool:
    """Whether there is no page that somebody wrote."""
    return not page.is_file() or OURS.encode() in page.read_bytes()


def _outdated(parcel: Parcel, place: Repository) -> tuple[str, ...]:
    """Files of an earlier push that would be taken for parts of this one."""
    card, ends = (CARD_FILE, _WEIGHTS) if parcel.what == REFINER else (DATA_CARD, _ROWS)
    if card not in place.files:
        return ()
    older = place.files - parcel.files.keys() - set(MADE_OF)
    parts = {name for name in older if "/" not in name and name.endswith(ends)}
    return tuple(sorted(parts | _made_by_engines(older)))


def _made_by_engines(names: Iterable[str]) -> set[str]:
    """The files in subfolders where engines keep what they made of a model."""
    paths = list(map(PurePosixPath, names))
    folders = {path.parent for path in paths if path.name == SOURCE_FILE} - {PurePosixPath()}
    return {str(path) for path in paths if path.parent in folders}


# --------------------------------------------------------------------------------------------- pull


def pull(target: str, folder: Path | None = None, revision: str | None = None) -> Pulled:
    """Fetches a refiner or labels into `folder`, whole or not at all, or into the hub's cache.

    Run again after a break, it goes on.

    Raises UsageError for a wrong name, OutputError if the folder is not empty or can not be
    written, HubError if the hub can not be reached, refuses, or has neither there, RefinerError or
    InputError if what came is not whole, MissingExtra without the hub's library.
    """
    name = place_of(target)
    if folder is not None and folder.exists() and not (folder.is_dir() and _is_empty(folder)):
        raise OutputError(f"{folder} is there already; name a folder that is new or empty")
    what, place = _found(name, revision)
    from burnish.io import hub

    if folder is None:
        found = hub.fetch(name, kind=place.kind, revision=revision)
        _check(what, found)
        return Pulled(what, found)
    target_folder = folder.resolve()
    part = target_folder.with_name(f".{target_folder.name}-{place.commit[:12]}.part")
    hub.fetch(name, kind=place.kind, revision=place.commit, folder=part)
    try:
        shutil.rmtree(part / ".cache", ignore_errors=True)  # the library's notes
        _check(what, part)
        part.replace(target_folder)
    except OSError as error:
        raise OutputError(f"can not write {folder}: {error.strerror or error}") from None
    except (InputError, RefinerError):
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Pulled(what, folder)


def _found(name: str, revision: str | None) -> tuple[str, Repository]:
    """What is at a place: models and data sets may have the same name; ours has a card."""
    from burnish.io import hub

    seen = False
    kinds = {REFINER: (hub.MODEL, CARD_FILE), LABELS: (hub.DATASET, DATA_CARD)}
    for what, (kind, card) in kinds.items():
        place = hub.look(name, kind, revision)
        seen = seen or place is not None
        if place is not None and card in place.files:
            return what, place
    if seen:
        raise HubError(
            f"{HUB}{name} is no refiner and no labels of burnish: it has no {CARD_FILE} and no "
            f"{DATA_CARD}. Refiners that others published are fetched by burnish refine --refiner; "
            "burnish refiners lists them"
        )
    raise HubError(
        f"there is no {HUB}{name} that you may see; if it is private, log in with `hf auth login`, "
        "or set HF_TOKEN"
    )


def _check(what: str, folder: Path) -> None:
    if what == REFINER:
        read_refiner(folder)
    else:
        with finished(folder):
            pass


def _is_empty(folder: Path) -> bool:
    return next(folder.iterdir(), None) is None
