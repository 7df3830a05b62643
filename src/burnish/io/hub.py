"""The Hugging Face hub: what a repository holds, its files fetched, files committed to it.

The address is the library's (`HF_ENDPOINT` names another one), and so is the token: that of
`hf auth login`, or `HF_TOKEN`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from burnish.errors import HubError, MissingExtra

try:
    from huggingface_hub import (
        CommitOperationAdd,
        CommitOperationDelete,
        HfApi,
        get_token,
        hf_hub_download,
        snapshot_download,
    )
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
except ImportError:
    raise MissingExtra("the Hugging Face hub", "huggingface_hub", "hub") from None

MODEL, DATASET = "model", "dataset"
_KINDS = {MODEL: "", DATASET: "datasets/"}
_MAIN = "main"
_HIDDEN = [".*", "*/.*"]  # files that are never fetched
# The library's client was requests, then httpx, then httpx2: the base of its errors tells which.
_BROKEN_LINES = (HfHubHTTPError.__mro__[1], ConnectionError, TimeoutError)
_LOGIN = "`hf auth login`, or the variable HF_TOKEN"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository at one commit: the names of its files, and whether others can not see it."""

    name: str
    kind: str
    commit: str
    files: frozenset[str]
    private: bool

    @property
    def address(self) -> str:
        """Its page."""
        return f"{HfApi().endpoint}/{_KINDS[self.kind]}{self.name}"


# ----------------------------------------------------------------------------------------- fetching


def look(name: str, kind: str, revision: str | None = None) -> Repository | None:
    """A repository as it is now; None if there is none that may be seen.

    Raises HubError where that can not be known.
    """
    with _explained(f"hf:{name} can not be looked up"):
        try:
            api = HfApi()
            about = api.model_info if kind == MODEL else api.dataset_info
            info = about(name, revision=revision)
        except GatedRepoError:
            raise
        except RepositoryNotFoundError:
            return None
        names = frozenset(file.rfilename for file in info.siblings or ())
        return Repository(name, kind, info.sha or _MAIN, names, bool(info.private))


def kept(name: str, *, revision: str | None = None, only: list[str] | None = None) -> Path | None:
    """The folder of a model in the library's cache, which may lack files; None without one.

    Raises HubError for a name that can be none.
    """
    with _explained(f"hf:{name} can not be fetched"):
        try:
            found = snapshot_download(
                name, revision=revision, allow_patterns=only, ignore_patterns=_HIDDEN,
                local_files_only=True,
            )  # fmt: skip
        except FileNotFoundError:  # the library's own error is one
            return None
        return Path(found)


def fetch(
    name: str,
    *,
    kind: str = MODEL,
    revision: str | None = None,
    only: list[str] | None = None,
    folder: Path | None = None,
) -> Path:
    """The folder of a repository, fetched into the library's cache or into `folder`: all its files,
    or those whose names fit one of the patterns `only`; no hidden ones.

    Raises HubError if it can not be had.
    """
    with _explained(f"hf:{name} can not be fetched"):
        found = snapshot_download(
            name, repo_type=kind, revision=revision, allow_patterns=only, ignore_patterns=_HIDDEN,
            local_dir=folder,
        )  # fmt: skip
    return Path(found)


def read(place: Repository, file: str) -> bytes:
    """A small file of a repository. Raises HubError if it can not be had."""
    with _explained(f"{file} of hf:{place.name} can not be fetched"):
        found = hf_hub_download(place.name, file, repo_type=place.kind, revision=place.commit)
    return Path(found).read_bytes()


# ------------------------------------------------------------------------------------------ sending


def prepare(name: str, kind: str, *, private: bool, revision: str | None) -> Repository:
    """The repository to send files to, made if there is none, and so is the branch `revision`.

    Raises HubError if that fails, if there is no token, or if it should be `private` and is not.
    """
    if get_token() is None:
        raise HubError(f"sending files to the hub needs a token with the right to write: {_LOGIN}")
    api = HfApi()
    with _explained(f"hf:{name} can not be made or opened"):
        api.create_repo(name, repo_type=kind, private=private or None, exist_ok=True)
        public = private and not api.repo_info(name, repo_type=kind).private
        if public:  # never sent where everybody reads it
            raise HubError(
                f"hf:{name} exists already and is public; nothing was sent. Make it private on its "
                "page, choose another name, or leave --private out"
            )
        if revision is not None and revision != _MAIN and not revision.startswith("refs/"):
            api.create_branch(name, branch=revision, repo_type=kind, exist_ok=True)
    found = look(name, kind, revision)
    if found is None:
        raise HubError(f"hf:{name} was made, but the hub does not show it; try again")
    return found


def commit(
    place: Repository,
    files: Mapping[str, Path | bytes],
    *,
    removed: Collection[str],
    message: str,
    revision: str | None,
) -> None:
    """Sends files, and removes others, in one commit. Raises HubError if that fails; then nothing
    has changed, unless the line broke before the hub could say that all is done."""
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        CommitOperationDelete(path_in_repo=name) for name in sorted(removed)
    ]
    with _explained(f"the files can not be sent to hf:{place.name}"):
        operations += [
            CommitOperationAdd(path_in_repo=name, path_or_fileobj=source)
            for name, source in sorted(files.items())
        ]
        HfApi().create_commit(
            place.name, operations, repo_type=place.kind, commit_message=message, revision=revision
        )


# ------------------------------------------------------------------------------------------- errors


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turns the library's errors into one line that says what is wrong and how to mend it.

    All of them: beside its own there are those of its client, of threads and of the storage's
    extension, and they differ between versions.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        raise HubError(f"{what}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What is wrong, told by the first error of the chain that is known."""
    first = error
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OfflineModeIsEnabled):
            return "HF_HUB_OFFLINE is set, so nothing may be sent or fetched"
        if getattr(link, "response", None) is not None and isinstance(link, HfHubHTTPError):
            return _refusal(link)
        if isinstance(link, _BROKEN_LINES):
            told = _first_line(link)
            return f"{HfApi().endpoint} can not be reached, or the line broke ({told}); try again"
        if isinstance(link, OSError) and link.errno is not None:
            return f"{link.strerror} ({link.filename})" if link.filename else str(link.strerror)
        first, link = link, link.__cause__
    told, behind = _first_line(error), _first_line(first)
    return told if behind == told else f"{told}: {behind}"


def _refusal(error: HfHubHTTPError) -> str:
    """What an answer of the hub means for its user."""
    status = error.response.status_code
    told = (error.server_message or "").strip().splitlines()
    said = f", and says: {told[0]}" if told else ""
    if isinstance(error, RevisionNotFoundError):
        return "there is no such branch, tag or commit"
    if isinstance(error, GatedRepoError):
        return f"its owners give access on request: ask on its page, and log in ({_LOGIN})"
    if status == 401 and get_token() is not None:
        return f"the hub does not know the token (401); log in anew: {_LOGIN}{said}"
    if status == 401:
        return f"the hub asks who you are (401): {_LOGIN}{said}"
    if status == 403:
        return (
            "the token may not do that (403): it needs the right to write there, and its account "
            f"must belong to the organisation{said}"
        )
    if status == 404:
        return f"there is no such repository or file (404), or the token may not see it{said}"
    return f"the hub answers {status}{said}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
