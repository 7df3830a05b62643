"""Refiners and labels to a hub and back: a small hub on this machine, the library as it is."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("huggingface_hub", reason="sharing needs the extra hub")

import yaml
from hub_server import READER, WRITER, Hub, Repository, hub
from huggingface_hub import constants
from huggingface_hub.utils import close_session

import burnish
from burnish.annotation.card import Tally, make_card
from burnish.annotation.folder import LabelFolder
from burnish.annotation.labels import Labels
from burnish.cli import main
from burnish.errors import InputError, OutputError, RefinerError, UsageError
from burnish.program.lines import Chunk
from burnish.refiners.folder import read_refiner
from burnish.refiners.loading import identity, load_refiner
from burnish.spec import ModelSpec, RefinerCard
from burnish.workflows.share import packed, place_of

# The library uses its client in a way that the client is about to give up.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

_HEADER = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
SAFETENSORS = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)
WEIGHTS = Path(burnish.__file__).parent / "refiners" / "weights"
Run = Callable[..., "Done"]


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def server() -> Iterator[Hub]:
    with hub() as served:
        yield served


@pytest.fixture
def run(
    server: Hub,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Run]:
    """The command line, with a library that knows no hub but ours and has a cache of its own."""

    def settle(endpoint: str = server.url, token: str = WRITER, offline: bool = False) -> None:
        for name, value in {
            "ENDPOINT": endpoint,
            "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "hub"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_HUB_DISABLE_XET": True,
            "HF_HUB_DISABLE_PROGRESS_BARS": True,
            "HF_HUB_OFFLINE": offline,
        }.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", token)

    def burnish(*arguments: object, **settings: Any) -> Done:
        settle(**settings)
        monkeypatch.setattr(sys, "argv", ["burnish", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, *capsys.readouterr())

    settle()
    yield burnish
    close_session()


@pytest.fixture
def tagger(tmp_path: Path) -> Path:
    folder = tmp_path / "tagger"
    shutil.copytree(WEIGHTS, folder)
    (folder / ".secret").write_text("mine")
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Labels of two documents, as annotate writes them, with the answers that they are made of."""
    folder = tmp_path / "labels"
    row = {"id": "a", "text": "Otters.", "edu": 4, "format": 3, "keep": 1}
    window = {
        "id": "a", "route": "chunk", "lines": [{"text": "Otters.", "label": 0}], "kinds": [],
        "status": "kept", "variant": "web",
    }  # fmt: skip
    found = Labels(documents=[row], windows=[window])
    tally = Tally()
    for split in ("train", "held-out"):
        tally.add(split, "CC-BY-4.0", found)
    settings = {
        "splits": {"train": 0.9, "held-out": 0.1}, "seed": 0, "stratify": None, "calls": "joint",
        "stages": ["document", "chunk"], "passes": 1, "keep_edu": 3, "keep_format": 4,
        "limits": {"max_removed": 0.95},
    }  # fmt: skip
    card = make_card(
        name="seed", settings=settings, teachers=[{"name": "strong"}], annotators=[], prompts=[],
        choice=None, sample={"drawn": 1, "seen": 2}, tally=tally, agreement=None,
        usage={"answers": 2, "prompt_tokens": 9, "cached_tokens": 0, "completion_tokens": 3},
        licence="CC-BY-4.0",
    )  # fmt: skip
    with LabelFolder(folder) as made:
        made.write_labels(("train", "held-out"), [], [("train", found), ("held-out", found)])
        made.write_card(card)
    with closing(sqlite3.connect(folder / "answers.sqlite")) as file:
        file.execute("CREATE TABLE answers (text)")
    (folder / "sample.jsonl.zst").write_bytes(b"sample")
    (folder / "sample.json").write_text("{}")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files but hidden ones."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    names = {path: path.relative_to(folder).as_posix() for path in paths}
    return {n: path.read_bytes() for path, n in names.items() if not n.startswith(".")}


def header(page: bytes) -> dict[str, Any]:
    found = yaml.safe_load(page.decode().split("---\n")[1])
    assert isinstance(found, dict)
    return found


# -------------------------------------------------------------------------------------- a refiner


def test_a_refiner_there_and_back(server: Hub, run: Run, tagger: Path, tmp_path: Path) -> None:
    before = contents(tagger)
    pushed = run("push", tagger, "hf:lab/tagger")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{server.url}/lab/tagger\n"
    repository = server.repositories["models/lab/tagger"]
    page = repository.files["README.md"]
    assert repository.files == {**before, "README.md": page}
    assert len(repository.commits) == 2  # the first is the hub's own
    assert not repository.private
    assert contents(tagger) == before  # the page is made for the hub alone
    assert header(page) == {
        "library_name": "burnish", "tags": ["burnish", "data-refinement", "tagger"]
    }  # fmt: skip
    assert b"--refiner hf:lab/tagger\n" in page
    assert b"| lines.dev.full_noise_f1 | 0.9193 |" in page

    pulled = run("pull", "hf:lab/tagger", "-o", tmp_path / "mine", token="")
    assert pulled.returncode == 0, pulled.stderr
    assert f"--refiner {tmp_path / 'mine'}" in pulled.stderr
    assert contents(tmp_path / "mine") == repository.files
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]
    again = run("pull", "hf:lab/tagger", "-o", tmp_path / "mine")
    assert again.returncode == 1
    assert "mine is there already; name a folder that is new or empty" in again.stderr


def test_a_refiner_is_used_from_the_hub(
    server: Hub, run: Run, tagger: Path, tmp_path: Path
) -> None:
    run("push", tagger, "hf:lab/tagger")
    text = "Home | News\nThe otters are back, and they were seen by the whole town.\n" * 9
    here, spec = load_refiner(str(tagger), "chunk")
    there, same = load_refiner("hf:lab/tagger", "chunk")
    assert spec == same
    chunks = [Chunk.whole(text)]
    assert here.write(chunks) == there.write(chunks)
    asked = len(server.requests)
    assert identity("hf:lab/tagger") == identity(str(tagger))
    assert len(server.requests) == asked  # it was fetched once

    pulled = run("pull", "hf:lab/tagger")
    assert pulled.returncode == 0, pulled.stderr
    assert "--refiner hf:lab/tagger" in pulled.stderr
    assert read_refiner(Path(pulled.stdout.strip())).name == "burnish-tagger"
    # The whole way, in a process whose library is as it comes; the line is cut, it has a copy.
    (tmp_path / "pages.jsonl").write_text(json.dumps({"id": "a", "text": text}))
    command = [sys.executable, "-m", "burnish", "refine", str(tmp_path / "pages.jsonl")]
    command += ["-o", str(tmp_path / "out"), "--refiner", "hf:lab/tagger", "--workers", "1"]
    variables = {"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(command, env={**os.environ, **variables}, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_page_that_somebody_wrote_is_kept(server: Hub, run: Run, tagger: Path) -> None:
    run("push", tagger, "hf:lab/tagger")
    repository = server.repositories["models/lab/tagger"]
    made = repository.files["README.md"]
    card = RefinerCard.read(tagger)
    replace(card, notes={**card.notes, "license": "Apache 2.0"}).write(tagger)
    run("push", tagger, "hf:lab/tagger", "-m", "with a licence")
    assert header(repository.files["README.md"])["license"] == "apache-2.0"
    assert repository.messages[-1] == "with a licence"

    repository.add("main", {**repository.files, "README.md": b"# Written there\n"}, "by hand")
    done = run("push", tagger, "hf:lab/tagger")
    assert "README.md was written on the hub" in done.stderr
    assert repository.files["README.md"] == b"# Written there\n"

    (tagger / "README.md").write_bytes(b"# Written here\n")
    run("push", tagger, "hf:lab/tagger")
    assert repository.files["README.md"] == b"# Written here\n"
    (tagger / "README.md").write_bytes(made)  # as it is pulled: made anew
    with packed(tagger, "hf:lab/other") as parcel:
        page = parcel.files["README.md"]
    assert isinstance(page, bytes)
    assert b"--refiner hf:lab/other\n" in page


def test_a_branch_and_parts_that_are_gone(server: Hub, run: Run, tagger: Path) -> None:
    run("push", tagger, "hf:lab/tagger")
    repository = server.repositories["models/lab/tagger"]
    older = {**repository.files, "model-00001-of-00002.safetensors": b"1", "figure.png": b"2"}
    repository.add("main", older, "older")
    done = run("push", tagger, "hf:lab/tagger", "--revision", "next")
    assert "lacks them: model-00001-of-00002.safetensors\n" in done.stderr
    found = repository.at("next")
    assert found is not None
    assert older.keys() - found[1].keys() == {"model-00001-of-00002.safetensors"}
    assert repository.files == older
    missing = run("pull", "hf:lab/tagger", "--revision", "v9")
    assert missing.returncode == 1
    assert "there is no such branch, tag or commit" in missing.stderr


def test_what_engines_made_of_a_model_is_not_shared(server: Hub, run: Run, tagger: Path) -> None:
    """Nor kept where an earlier push had shared it."""
    (tagger / "onnx-int8").mkdir()
    for name in ("model.onnx", "burnish-source.txt"):
        (tagger / "onnx-int8" / name).write_text("x")
    run("push", tagger, "hf:lab/tagger")
    repository = server.repositories["models/lab/tagger"]
    pushed = repository.files
    assert "lines.onnx" in pushed and not any("onnx-int8" in name for name in pushed)
    made = {f"openvino-int8/{name}": b"x" for name in ("model.xml", "burnish-source.txt")}
    repository.add("main", {**pushed, **made, "extra/model.xml": b"x"}, "older")
    run("push", tagger, "hf:lab/tagger")
    assert repository.files == {**pushed, "extra/model.xml": b"x"}


def test_private(server: Hub, run: Run, tagger: Path) -> None:
    run("push", tagger, "hf:lab/tagger", "--private")
    assert server.repositories["models/lab/tagger"].private
    assert run("pull", "hf:lab/tagger").returncode == 0
    other = run("pull", "hf:lab/tagger", token="")
    assert other.returncode == 1
    assert "there is no hf:lab/tagger that you may see; if it is private" in other.stderr

    server.repositories["models/lab/open"] = Repository()
    server.repositories["models/lab/open"].add("main", {}, "initial")
    refused = run("push", tagger, "hf:lab/open", "--private")
    assert refused.returncode == 1
    assert "hf:lab/open exists already and is public; nothing was sent" in refused.stderr
    assert not server.repositories["models/lab/open"].files


# ------------------------------------------------------------------------------------------ labels


def test_labels_there_and_back(server: Hub, run: Run, labels: Path, tmp_path: Path) -> None:
    pushed = run("push", labels, "hf:lab/seed")
    assert pushed.returncode == 0, pushed.stderr
    assert pushed.stdout == f"{server.url}/datasets/lab/seed\n"
    there = server.repositories["datasets/lab/seed"].files
    left_out = {"answers.sqlite", "sample.jsonl.zst", "sample.json"}
    here = contents(labels)
    assert there.keys() == here.keys() - left_out
    assert {n for n in there if there[n] != here[n]} == {"README.md"}
    assert there["README.md"].endswith(here["README.md"])  # a header is put before it
    found = header(there["README.md"])
    assert found["license"] == "cc-by-4.0"
    splits = {
        each["config_name"]: {(part["split"], part["path"]) for part in each["data_files"]}
        for each in found["configs"]
    }
    assert splits == {
        name: {
            ("train", f"{prefix}train.jsonl.zst"), ("held_out", f"{prefix}held-out.jsonl.zst")
        }
        for name, prefix in (("documents", ""), ("windows", "chunks_"))
    }  # fmt: skip

    pulled = run("pull", "hf:lab/seed", "-o", tmp_path / "mine")
    assert pulled.returncode == 0, pulled.stderr
    assert contents(tmp_path / "mine") == there
    assert "burnish inspect" in pulled.stderr
    again = run("push", tmp_path / "mine", "hf:lab/copy")
    assert again.returncode == 0, again.stderr
    assert server.repositories["datasets/lab/copy"].files == there

    run("push", labels, "hf:lab/seed", "--with-answers")
    there = server.repositories["datasets/lab/seed"].files
    assert there.keys() == here.keys()
    run("push", labels, "hf:lab/seed")
    assert server.repositories["datasets/lab/seed"].files == there  # what was shared stays


def test_labels_that_are_not_finished(labels: Path) -> None:
    with LabelFolder(labels), pytest.raises(OutputError, match="a process writes labels into"):
        packed(labels, "hf:lab/seed").__enter__()
    (labels / "chunks_train.jsonl.zst").unlink()
    with pytest.raises(InputError, match=r"no whole labels: there is no chunks_train\.jsonl\.zst"):
        packed(labels, "hf:lab/seed").__enter__()
    (labels / "data_card.json").write_text("[]")
    with pytest.raises(InputError, match="is no data card of burnish annotate"):
        packed(labels, "hf:lab/seed").__enter__()


# ------------------------------------------------------------------------------------------ faults


def test_a_dry_run_sends_nothing(server: Hub, run: Run, tagger: Path, labels: Path) -> None:
    done = run("push", tagger, "hf:lab/tagger", "--dry-run", token="")
    assert done.returncode == 0, done.stderr
    assert "document_head.npz       1,578,781 bytes\n" in done.stdout
    assert "bytes  (made from the card)\n" in done.stdout
    assert " MB; nothing was sent\n" in done.stdout
    assert ".secret" not in done.stdout
    assert "answers" not in run("push", labels, "hf:lab/seed", "--dry-run").stdout
    assert server.requests == []


def test_what_is_no_refiner_is_refused(tagger: Path, tmp_path: Path) -> None:
    def refused(message: str, kind: type[Exception] = RefinerError) -> None:
        with pytest.raises(kind, match=message), packed(tagger, "hf:lab/tagger"):
            pass

    with pytest.raises(InputError, match=r"is nothing to share: it has no card\.json"):
        packed(tmp_path, "hf:lab/tagger").__enter__()
    (tagger / "lines.onnx").write_bytes(b"no network")
    refused("lines.onnx")
    (tagger / "lines.onnx").unlink()
    refused("is no whole refiner: there is no lines.onnx")
    card = RefinerCard.read(tagger)
    replace(card, kind="oracle").write(tagger)
    refused("no refiner is of the kind 'oracle'")
    (tagger / "card.json").write_text("{}")
    refused("card.json is not a refiner card: name is missing")
    (tagger / "data_card.json").write_text("{}")
    refused("share them from two folders", InputError)


def test_a_language_model_is_whole_with_all_its_parts(tagger: Path) -> None:
    model = ModelSpec(weights=".", template="plain", max_new_tokens=9, system="file:system.txt")
    card = replace(RefinerCard.read(tagger), kind="causal", model=model)

    def missing() -> str:
        card.write(tagger)
        with pytest.raises(RefinerError) as told:
            read_refiner(tagger)
        return str(told.value).partition("there is no ")[2]

    assert missing() == "config.json, tokenizer.json, model.safetensors, system.txt"
    for name in ("config.json", "tokenizer.json", "system.txt"):
        (tagger / name).write_text("{}")
    index = {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}
    (tagger / "model.safetensors.index.json").write_text(json.dumps(index))
    (tagger / "1.safetensors").write_bytes(SAFETENSORS)
    assert missing() == "2.safetensors"
    for cut in (b"", b"2", SAFETENSORS[:-1], SAFETENSORS + b"more"):
        (tagger / "2.safetensors").write_bytes(cut)
        with pytest.raises(RefinerError, match=r"2\.safetensors is cut off, or damaged"):
            read_refiner(tagger)
    (tagger / "2.safetensors").write_bytes(SAFETENSORS)
    (tagger / "state").mkdir()
    (tagger / "state" / "optimizer.pt").write_bytes(b"3")
    with packed(tagger, "hf:lab/model") as parcel:
        assert "2.safetensors" in parcel.files
        assert not any(name.startswith("state") for name in parcel.files)
    for place in ("hf:lab/base", ".."):
        card = replace(card, model=replace(model, weights=place))
        card.write(tagger)
        with pytest.raises(RefinerError, match="holds no weights: its card says that they are at"):
            read_refiner(tagger)


@pytest.mark.parametrize(
    "name", ["lab/tagger", "hf:tagger", "hf:a/b/c", "hf:/b", "hf:a/../b", "hf:a/b.", "hf:a/b--c"]
)
def test_names(name: str) -> None:
    with pytest.raises(UsageError, match="is no place on the hub; write hf:organisation/name"):
        place_of(name)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token": ""}, "needs a token with the right to write: `hf auth login`, or"),
        ({"token": "hf_nobody"}, "the hub does not know the token (401); log in anew"),
        ({"token": READER}, "the token may not do that (403): it needs the right to write"),
        ({"offline": True}, "HF_HUB_OFFLINE is set"),
    ],
)
def test_the_hub_refuses(
    run: Run, server: Hub, tagger: Path, settings: dict[str, Any], message: str
) -> None:
    done = run("push", tagger, "hf:lab/tagger", **settings)
    assert (done.returncode, done.stdout) == (1, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not server.repositories


def test_broken_lines(run: Run, server: Hub, tagger: Path, tmp_path: Path) -> None:
    server.cut = "/commit/"
    done = run("push", tagger, "hf:lab/tagger")
    assert done.returncode == 1
    message = f"can not be sent to hf:lab/tagger: {server.url} can not be reached, or the line"
    assert message in done.stderr
    server.cut = None
    assert run("push", tagger, "hf:lab/tagger").returncode == 0  # run again, it goes on
    server.cut = "/api/models/"
    done = run("pull", "hf:lab/tagger", "-o", tmp_path / "mine")
    assert (done.returncode, (tmp_path / "mine").exists()) == (1, False)
    assert "hf:lab/tagger can not be looked up" in done.stderr
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
    done = run("push", tagger, "hf:lab/tagger", endpoint=nobody)
    assert done.returncode == 1
    assert f"{nobody} can not be reached" in done.stderr


def test_nothing_of_ours_is_there(run: Run, server: Hub, tmp_path: Path) -> None:
    done = run("pull", "hf:lab/nothing")
    assert done.returncode == 1
    assert "there is no hf:lab/nothing that you may see" in done.stderr
    server.repositories["models/lab/else"] = found = Repository()
    found.add("main", {"config.json": b"{}"}, "initial")
    done = run("pull", "hf:lab/else")
    assert "hf:lab/else is no refiner and no labels of burnish" in done.stderr
    found.add("main", {"card.json": (WEIGHTS / "card.json").read_bytes()}, "a part")
    done = run("pull", "hf:lab/else", "-o", tmp_path / "mine")
    assert done.returncode == 1
    assert "is no whole refiner: there is no lines.onnx, document_head.npz" in done.stderr
    assert not (tmp_path / "mine").exists()
    assert run("push", WEIGHTS, "lab/tagger").returncode == 2


def test_without_the_extra(run: Run, tagger: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "burnish.io.hub", raising=False)
    monkeypatch.delattr("burnish.io.hub", raising=False)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    done = run("push", tagger, "hf:lab/tagger")
    assert done.returncode == 1
    assert "pip install 'burnish[hub]'" in done.stderr
    assert run("push", tagger, "hf:lab/tagger", "--dry-run").returncode == 0
