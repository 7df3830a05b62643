"""The retention dial and the estimate: shares that come true, and a threshold settled once."""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import zstandard
from click.testing import CliRunner

from burnish.cli import cli
from burnish.cli.share import SHARE
from burnish.errors import InputError, SettingsChanged, UsageError
from burnish.io.sample import Drawn, Sample
from burnish.refiners import refiner_names
from burnish.runner.base import Summary
from burnish.schema import Document, Record, StageTrace, Status
from burnish.workflows import estimate, refine
from burnish.workflows.retention import Bootstrap, choose, settled

SHARED = Path(__file__).absolute().parents[2] / "shared" / "data" / "corpus"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="needs the shared corpora")

LESSONS = [
    "Photosynthesis turns light into chemical energy inside the leaves of a plant.",
    "A fraction is a part of a whole; its denominator says into how many parts it was cut.",
    "The experiment shows that iron expands when it is heated and shrinks when it cools.",
]
SMALL_TALK = [
    "Had a great time at the mall today, love this new phone so much!",
    "Cheap tickets here, call us now, best price, limited offer.",
    "lol that was so funny, see you on friday everyone",
]


def pages(path: Path, count: int = 400) -> Path:
    """Pages between lesson and small talk, with a menu around them."""
    chance = random.Random(4)
    with path.open("w", encoding="utf-8") as file:
        for n in range(count):
            share = chance.random()
            body = [
                chance.choice(LESSONS if chance.random() < share else SMALL_TALK)
                for _ in range(chance.randrange(3, 30))
            ]
            text = "\n".join(["Home", "Log in", *body, "Privacy policy"])
            file.write(json.dumps({"id": f"p{n}", "text": text}) + "\n")
    return path


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("timing") and ".locks" not in path.parts
    }


def share(summary: Summary) -> float:
    return summary.kept_bytes / summary.text_bytes


# ----------------------------------------------------------------------------------- intervals


def sampled(count: int, documents: float | None = None, parts: Sequence[int] = ()) -> Sample:
    drawn = tuple(Drawn(Document(str(n), ""), 1.0, parts[n] if parts else n) for n in range(count))
    return Sample(drawn, documents or 10 * count, 0, documents is not None, (), 0)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    chance = np.random.default_rng(3)
    sizes = chance.lognormal(8, 1.2, 20_000)
    for rate in (0.01, 0.2, 0.9):
        after = sizes * (chance.random(20_000) < rate) * chance.uniform(0.5, 1, 20_000)
        truth = after.sum() / sizes.sum()
        hits = 0
        for _ in range(40):
            drawn = chance.choice(20_000, 400, replace=False)
            hits += truth in Bootstrap(sampled(400)).ratio(after[drawn], sizes[drawn])
        assert hits >= 35, rate


def test_documents_found_together_stay_together() -> None:
    values = [1.0] * 50 + [0.0] * 50
    alone = Bootstrap(sampled(100)).ratio(values, [1.0] * 100)
    pairs = Bootstrap(sampled(100, parts=[n // 25 for n in range(100)])).ratio(values, [1.0] * 100)
    assert (alone.value, pairs.value) == (0.5, 0.5)
    assert pairs.high - pairs.low > 2 * (alone.high - alone.low)


def test_nothing_is_uncertain_of_a_whole() -> None:
    found = Bootstrap(sampled(50, 50)).ratio([1.0] * 20 + [0.0] * 30, [1.0] * 50)
    assert (found.low, found.value, found.high) == (0.4, 0.4, 0.4)


def test_what_was_never_seen_may_still_be_there() -> None:
    found = Bootstrap(sampled(100)).ratio([0.0] * 100, [1.0] * 100)
    assert (found.value, found.low) == (0, 0)
    assert 0.02 < found.high < 0.08


# ------------------------------------------------------------------------------------ choosing


def record(keep: float | None, before: int, after: int) -> Record:
    scores = {} if keep is None else {"keep": keep}
    trace = StageTrace(
        stage="document", refiner="r", status=Status.KEPT, program=(), edits=(), issues=(),
        scores=scores, removed_lines=(), reason="",
    )  # fmt: skip
    document = Document("d", "x" * before)
    return Record(document, Status.EDITED, "x" * after, (trace,))


def test_the_threshold_nearest_to_the_share() -> None:
    records = [record(n / 10, 100, 80) for n in range(10)]
    for wanted, threshold in ((0.08, 0.9), (0.4, 0.5), (0.43, 0.5), (0.45, 0.4), (0.8, 0.0)):
        found = choose(sampled(10), records, wanted)
        assert found.threshold == pytest.approx(threshold), wanted
        assert found.kept is not None


def test_the_last_document_is_not_dropped_to_come_nearer() -> None:
    best_is_empty = [record(0.9, 100, 0), record(0.8, 100, 100), record(0.2, 100, 100)]
    assert choose(sampled(3), best_is_empty, 0.1).threshold == 0.8
    assert choose(sampled(1), [record(0.03, 100, 80)], 0.05).threshold == 0.03


def test_documents_of_one_score_stay_or_go_together() -> None:
    records = [record(0.2, 100, 100)] * 5 + [record(0.7, 100, 100)] * 5
    assert choose(sampled(10), records, 0.3).threshold == 0.7
    assert choose(sampled(10), records, 0.9).threshold == 0.2


def test_a_document_without_a_score_stays() -> None:
    records = [record(None, 100, 100)] * 4 + [record(n / 10, 100, 100) for n in range(6)]
    found = choose(sampled(10), records, 0.6)
    assert found.threshold == 0.4


def test_a_share_that_can_not_be_had() -> None:
    records = [record(n / 1000, 100, 50) for n in range(1000)]
    with pytest.raises(UsageError, match=r"90\.0% of the text can not be kept: .* 50\.0% is left"):
        choose(sampled(1000), records, 0.9)
    with pytest.raises(UsageError, match=r"no threshold keeps 25\.0% .* of 1 document .* nothing"):
        choose(sampled(1), [record(0.4, 100, 0)], 0.25)
    with pytest.raises(UsageError, match="no keep probability"):
        choose(sampled(2), [record(None, 1, 1)] * 2, 0.5)
    with pytest.raises(InputError, match="no row"):
        choose(sampled(0), [], 0.5)


def test_only_the_same_share_is_settled() -> None:
    settings = {"keep_tokens": 0.25, "stages": [{"name": "document", "keep_threshold": 0.3}]}
    assert settled(settings, 0.25).threshold == 0.3  # type: ignore[union-attr]
    assert settled(settings, 0.2) is None
    assert settled({"stages": settings["stages"]}, 0.25) is None
    assert settled(None, 0.25) is None


@pytest.mark.parametrize(
    ("given", "found"), [("25%", 0.25), ("0.25", 0.25), ("100 %", 1), (".5", 0.5), ("1", 1)]
)
def test_a_share_on_the_command_line(given: str, found: float) -> None:
    assert SHARE.convert(given, None, None) == found


@pytest.mark.parametrize("given", ["25", "0", "-1%", "101%", "x", "", "nan", "1e-1"])
def test_what_is_no_share(given: str) -> None:
    result = CliRunner().invoke(cli, ["refine", "x", "-o", "y", "--keep-tokens", given])
    assert result.exit_code == 2
    assert "is no share" in result.output


# ----------------------------------------------------------------------------------- whole runs


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pages(tmp_path_factory.mktemp("corpus") / "pages.jsonl")


def config(corpus: Path, output: Path, **changes: object) -> refine.Config:
    settings: dict[str, object] = {"inputs": (corpus,), "output": output, "workers": 1}
    return refine.Config(**{**settings, "keep_tokens": 0.3, **changes})  # type: ignore[arg-type]


def test_the_wanted_share_stays(corpus: Path, tmp_path: Path) -> None:
    told = []
    for wanted in (0.2, 0.5):
        out = tmp_path / str(wanted)
        summary = refine.run(config(corpus, out, keep_tokens=wanted), on_choice=told.append)
        assert share(summary) == pytest.approx(wanted, abs=0.01)  # 400 documents: all are drawn
        settings = json.loads((out / "manifest" / "settings.json").read_text())
        assert settings["keep_tokens"] == wanted
        assert settings["stages"][0]["keep_threshold"] == told[-1].threshold
    assert told[0].threshold > told[1].threshold


def test_a_run_goes_on_with_the_threshold_it_began_with(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refine.run(config(corpus, tmp_path / "whole"))
    refine.run(config(corpus, tmp_path / "parts", task=(0, 2)))
    with monkeypatch.context() as patch:
        patch.setattr(refine, "choose_threshold", None)  # nobody chooses again
        told = []
        refine.run(config(corpus, tmp_path / "parts", task=(1, 2)), on_choice=told.append)
        assert told[0].kept is None
        again = refine.run(config(corpus, tmp_path / "parts"))
        assert again.already_done
    assert tree(tmp_path / "parts") == tree(tmp_path / "whole")
    with pytest.raises(SettingsChanged, match=r"keep_tokens: 0\.3 -> 0\.4"):
        refine.run(config(corpus, tmp_path / "whole", keep_tokens=0.4))
    with pytest.raises(SettingsChanged, match=r"keep_tokens: 0\.3 -> None"):
        refine.run(config(corpus, tmp_path / "whole", keep_tokens=None))


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    large = tmp_path / "large.jsonl"  # three shards
    large.write_bytes(corpus.read_bytes() * 8)
    command = [sys.executable, "-m", "burnish", "refine", str(large), "--keep-tokens", "30%"]
    command += ["--workers", "1", "--output"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run([*command, str(whole)], check=True, capture_output=True)
    assert len(list((whole / "documents").iterdir())) > 1
    process = subprocess.Popen(
        [*command, str(killed)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not list((killed / "manifest").glob("0*.json")) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "summary.json").exists()
    done = subprocess.run([*command, str(killed)], check=True, capture_output=True, text=True)
    assert "as this folder's run began" in " ".join(done.stderr.split())
    assert tree(killed) == tree(whole)


def test_a_share_needs_scores_and_stands_alone(corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="one or the other"):
        refine.run(config(corpus, tmp_path / "x", keep_threshold=0.5))
    with pytest.raises(UsageError, match="done at the stage 'document'"):
        refine.run(config(corpus, tmp_path / "x", stages=("chunk",)))
    with pytest.raises(UsageError, match="can not be kept"):
        refine.run(config(corpus, tmp_path / "x", keep_tokens=1.0))
    with pytest.raises(UsageError, match="above 0"):
        refine.run(config(corpus, tmp_path / "x", keep_tokens=0.0))
    assert not (tmp_path / "x").exists()
    summary = refine.run(config(corpus, tmp_path / "y", keep_tokens=1.0, stages=("document",)))
    assert share(summary) == 1


def test_min_score_is_the_keep_threshold(corpus: Path, tmp_path: Path) -> None:
    for option in ("--keep-threshold", "--min-score"):
        out = tmp_path / option
        arguments = ["refine", str(corpus), "-o", str(out), option, "0.3", "--workers", "1"]
        assert CliRunner().invoke(cli, arguments).exit_code == 0
    assert tree(tmp_path / "--min-score") == tree(tmp_path / "--keep-threshold")


def test_the_threshold_of_lines_reaches_every_worker(corpus: Path, tmp_path: Path) -> None:
    kept = {}
    for threshold in (None, 0.99):
        out = tmp_path / str(threshold)
        asked = config(corpus, out, keep_tokens=None, stages=("chunk",), noise_threshold=threshold)
        kept[threshold] = share(refine.run(asked))
        settings = json.loads((out / "manifest" / "settings.json").read_text())
        assert settings["stages"][0]["noise_threshold"] == threshold
        told = estimate.run(
            estimate.Config(
                inputs=(corpus,), stages=("chunk",), noise_threshold=threshold, workers=1
            )
        )
        assert told.kept_bytes.value == pytest.approx(kept[threshold])
    assert kept[0.99] > kept[None]


# ----------------------------------------------------------------------------------- estimating


def test_an_estimate_of_everything_is_what_comes(corpus: Path, tmp_path: Path) -> None:
    found = estimate.run(estimate.Config(inputs=(corpus,), keep_threshold=0.1, workers=1))
    summary = refine.run(config(corpus, tmp_path / "out", keep_tokens=None, keep_threshold=0.1))
    assert found.sampled == found.documents == summary.documents
    assert found.text_bytes == summary.text_bytes
    assert found.kept_bytes.value == pytest.approx(share(summary))
    assert found.kept_bytes.low == pytest.approx(found.kept_bytes.high)
    assert found.kept_documents.value == pytest.approx(1 - summary.dropped / summary.documents)
    assert found.removed_lines.value == pytest.approx(summary.removed_lines / summary.lines)
    for folder, size in found.output_bytes.items():
        real = sum(path.stat().st_size for path in (tmp_path / "out" / folder).iterdir())
        assert size.value == pytest.approx(real, rel=0.05)
    assert found.seconds.value > 0
    assert found.models == ()


def test_an_estimate_in_parts_holds_the_truth(corpus: Path, tmp_path: Path) -> None:
    summary = refine.run(config(corpus, tmp_path / "out", keep_tokens=None))
    found = estimate.run(estimate.Config(inputs=(corpus,), sample=150, read_whole_bytes=0))
    assert not found.whole
    assert found.sampled < summary.documents / 2
    assert share(summary) in found.kept_bytes
    assert 1 - summary.dropped / summary.documents in found.kept_documents
    again = estimate.run(estimate.Config(inputs=(corpus,), sample=150, read_whole_bytes=0))
    assert again.kept_bytes == found.kept_bytes


def test_a_few_documents_tell_less_of_the_time(corpus: Path) -> None:
    few, many = (estimate.run(estimate.Config(inputs=(corpus,), sample=n)) for n in (3, 200))
    assert few.seconds.high / few.seconds.value > 1.5 > many.seconds.high / many.seconds.value


def test_the_estimate_on_the_command_line(corpus: Path) -> None:
    arguments = ["estimate", str(corpus), "--keep-tokens", "25%", "--sample", "100"]
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert data["sampled"] == 100
    assert data["kept_bytes"]["value"] == pytest.approx(0.25, abs=0.03)
    shown = CliRunner().invoke(cli, arguments).output
    assert "text that stays" in shown
    assert "95 % interval" in shown


def test_an_estimate_says_what_its_sample_keeps_of_the_wanted_share(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"text": "The river rises in the hills. It is long."}) + "\n")
    shown = CliRunner().invoke(cli, ["estimate", str(path), "--sample", "1", "--keep-tokens", "9%"])
    told = " ".join(shown.output.split())
    assert "of 1 document of the input that keeps 100.0% of the text" in told
    assert "wanted 9.0%" in told


@pytest.mark.parametrize("how", [("--stages", "chunk"), ("--refiner", "c4-lines")])
@pytest.mark.parametrize("verb", [("estimate",), ("refine", "-o", "out")])
def test_a_share_without_the_stage_that_drops(verb: tuple[str, ...], how: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="dropping documents, which is done at the stage 'docum"):
        command = [*verb, "examples/pages.jsonl", "--keep-tokens", "25%", *how]
        CliRunner().invoke(cli, command, catch_exceptions=False)


def test_no_estimate_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(InputError, match="is a document"):
        estimate.run(estimate.Config(inputs=(tmp_path / "x.jsonl",)))


@pytest.mark.slow
def test_what_a_language_model_reads_and_writes(corpus: Path, llama: Path) -> None:
    from burnish.refiners import EngineChoice

    names = (str(llama / "prox-document.json"), str(llama / "prox-chunk.json"))
    engine = EngineChoice("transformers", (("dtype", "float32"),))
    found = estimate.run(estimate.Config(inputs=(corpus,), refiner=names, engine=engine, sample=12))
    document, chunk = found.models
    assert document.stage == "document"
    assert chunk.stage == "chunk"
    for cost in found.models:
        assert cost.parameters is not None
        assert 1e4 < cost.parameters < 1e6
        tokens = cost.prefill_tokens.value + cost.decode_tokens.value
        assert cost.flops is not None
        assert cost.flops.value == pytest.approx(2 * cost.parameters * tokens)
        assert cost.prefill_tokens.value > cost.decode_tokens.value > 0
        assert cost.a100_hours is not None


@needs_data
@pytest.mark.parametrize("name", ["openwebtext_1k", "c4_dolma_redpajama_rows"])
def test_an_estimate_of_real_pages(name: str, tmp_path: Path) -> None:
    plain = tmp_path / "pages.jsonl"
    with (SHARED / f"{name}.jsonl.zst").open("rb") as file:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), "utf-8")
        plain.write_text("".join(itertools.islice(stream, 600)), "utf-8")
    found = estimate.run(estimate.Config(inputs=(plain,), sample=120, read_whole_bytes=0))
    summary = refine.run(config(plain, tmp_path / "out", keep_tokens=None))
    assert share(summary) in found.kept_bytes


# ------------------------------------------------------------------------------------ refiners


def test_cards_with_what_was_measured() -> None:
    result = CliRunner().invoke(cli, ["refiners"], env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert "…" not in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    for name in refiner_names():
        assert any(line.startswith(f" {name} ") for line in result.output.splitlines())
    assert "F1 lines" in result.output
    (row,) = [line for line in result.output.splitlines() if "default" in line]
    assert "0.919" in row
    assert "0.817" in row


def test_a_whole_card() -> None:
    result = CliRunner().invoke(cli, ["refiners", "default"], env={"COLUMNS": "120"})
    assert result.exit_code == 0
    for told in ("burnish-tagger", "calibration", "keep_threshold", "auc_keep", "trafilatura"):
        assert told in result.output
    assert CliRunner().invoke(cli, ["refiners", "c4-lines"]).exit_code == 0
