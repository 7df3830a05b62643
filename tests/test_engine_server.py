"""The engine behind an address: against a server that plays every fault, and against real ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from math import inf, isnan, log
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("httpx", reason="a server as engine needs httpx")

from played import CUT, PAGE, Answer, Body, answer, playing, problem, text
from servers import Server, transformers_server, vllm_server

from burnish.dialects.base import Prompt
from burnish.errors import RefinerError, UsageError
from burnish.refiners.engines.base import Completion, Request
from burnish.refiners.engines.openai_compatible import IN_A_ROW, OpenAiCompatibleEngine


def engine(url: str, **options: Any) -> OpenAiCompatibleEngine:
    defaults: Body = {"first_pause": 0.01, "attempts": 3, "timeout": 5.0}
    return OpenAiCompatibleEngine(url, **{**defaults, **options})


def requests(count: int) -> list[Request]:
    """Each with its number as last token."""
    return [Request([1, 5, n], 10, chat=Prompt("Be brief.", f"page {n}")) for n in range(count)]


def number_of(body: Body) -> int:
    return int(body["prompt"][-1])


# ---------------------------------------------------------------------------------- what is asked


def test_ids_go_out_and_answers_come_back_in_order() -> None:
    def script(n: int, body: Body) -> Answer:
        time.sleep(0.02 * (number_of(body) % 3))
        return text(f"keep {number_of(body)}", "length" if number_of(body) == 4 else "stop")

    with playing(script) as server:
        made = engine(server.url)
        found = made.generate(requests(10))
        assert (made.name, made.can_score) == ("server m", True)
    assert [c.text for c in found] == [f"keep {n}" for n in range(10)]
    assert [c.finish for c in found] == ["stop"] * 4 + ["length"] + ["stop"] * 5
    body = min(server.bodies, key=number_of)
    assert body == {
        "path": "/v1/completions", "model": "m", "prompt": [1, 5, 0], "max_tokens": 10,
        "temperature": 0,
    }  # fmt: skip
    assert made.generate([]) == []


VLLM = answer({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 20}]})


def vllm_text(value: str, steps: Sequence[dict[int, float]], reason: str = "stop") -> Answer:
    """An answer in vLLM's own form; the first token of each step is the chosen one."""
    near = [{f"token_id:{token}": chance for token, chance in step.items()} for step in steps]
    logprobs = {"tokens": [next(iter(step)) for step in near], "top_logprobs": near}
    choice = {"index": 0, "text": value, "finish_reason": reason, "logprobs": logprobs}
    return answer({"choices": [choice], "usage": {"completion_tokens": len(steps)}})


def test_a_vllm_server_tells_how_sure_it_is() -> None:
    steps = [{7: -0.5, 8: -0.75}, {9: 0.0, 0: -9999.0}, {2: -0.25, 4: -1.5}]
    with playing(lambda n, body: vllm_text("a", steps), VLLM) as server:
        made = engine(server.url, dtype="float32")
        first, _ = made.generate([Request([1], 10, 'root ::= "a"')] * 2)
        (sure,) = made.generate([Request([1] * 15, 10)])
        (long,) = made.generate([Request([1] * 20, 10)])
        assert (made.tolerance, made.score_tolerance) == (1e-3, 1e-4)
    assert first == Completion("a", "stop", 2, -0.75, 0.25) == sure
    assert long.finish == "error" and "does not fit the server's context of 20" in long.error
    together, _, alone = server.bodies
    assert together["structured_outputs"] == {"grammar": 'root ::= "a"'}
    assert "cache_salt" not in together and "structured_outputs" not in alone
    assert alone["cache_salt"] and alone["max_tokens"] == 5  # what the context leaves


def test_a_forced_answer_has_no_margin() -> None:
    steps = [{7: 0.0, 0: -9999.0}, {2: 0.0, 0: -9999.0}]
    with playing(lambda n, body: vllm_text("a", steps), VLLM) as server:
        (found,) = engine(server.url).generate(requests(1))
    assert (found.margin, found.log_probability, found.tokens) == (inf, 0.0, 1)


def test_a_llama_cpp_server_has_its_own_word_for_grammars() -> None:
    models = answer({"data": [{"id": "m", "owned_by": "llamacpp"}]})
    with playing(lambda n, body: text("a"), models) as server:
        engine(server.url).generate([Request([1], 10, 'root ::= "a"')])
        engine(server.url, grammar="none").generate([Request([1], 10, 'root ::= "a"')])
    assert server.bodies[0]["grammar"] == 'root ::= "a"'
    assert "grammar" not in server.bodies[1]


@pytest.mark.parametrize("vllm", [True, False])
def test_chat(vllm: bool) -> None:
    choice = {"message": {"role": "assistant", "content": "keep"}, "finish_reason": "stop"}
    with playing(lambda n, body: answer({"choices": [choice]}), VLLM if vllm else None) as server:
        made = engine(server.url, api="chat")
        (found,) = made.generate(requests(1))
        assert not made.can_score
        assert made.generate([Request([1], 3)])[0].finish == "error"  # there are no messages
    assert found.text == "keep" and isnan(found.margin)
    (body,) = server.bodies
    assert body["path"] == "/v1/chat/completions"
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "page 0"},
    ]  # fmt: skip
    assert body.get("chat_template_kwargs") == ({"enable_thinking": False} if vllm else None)


def test_the_model_and_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    two = answer({"data": [{"id": "a", "max_model_len": 5}, {"id": "b", "max_model_len": 9}]})
    with playing(lambda n, body: text("a"), two) as server:
        engine(server.url, api_key_variable="MY_KEY").generate(requests(1))
        engine(server.url, model="b").generate(requests(1))
        engine(server.url, model="c").generate(requests(1))
    assert [body["model"] for body in server.bodies] == ["a", "b", "c"]
    assert [body["max_tokens"] for body in server.bodies] == [2, 6, 10]
    assert server.keys == ["Bearer secret", None, None]
    for models in (problem(404), problem(500)):
        with playing(lambda n, body: text("a"), models) as server:
            assert engine(server.url, model="b").generate(requests(1))[0].text == "a"


def test_bad_options() -> None:
    for options, word in (
        ({"api": "talk"}, "api"),
        ({"grammar": "any"}, "grammar"),
        ({"concurrency": 0}, "concurrency"),
        ({"attempts": 0}, "attempts"),
        ({"requests_per_minute": 0}, "requests_per_minute"),
        ({"dtype": "int8"}, "dtype"),
    ):
        with pytest.raises(UsageError, match=f"option.*{word}"):
            engine("http://127.0.0.1:9/v1", **options)


# ---------------------------------------------------------------------------------- how many


def test_no_more_at_once_than_allowed() -> None:
    def script(n: int, body: Body) -> Answer:
        time.sleep(0.03)
        return text("a")

    with playing(script) as server:
        engine(server.url, concurrency=5).generate(requests(40))
    assert server.most == 5 and len(server.bodies) == 40


def test_no_more_a_minute_than_allowed() -> None:
    with playing(lambda n, body: text("a")) as server:
        engine(server.url, requests_per_minute=1_200).generate(requests(10))  # one in 50 ms
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert server.times[-1] - server.times[0] >= 0.3
    assert sorted(gaps)[len(gaps) // 2] >= 0.02


def test_everybody_waits_where_the_server_asks_for_it() -> None:
    def script(n: int, body: Body) -> Answer:
        return problem(429, "slow down", retry_after="0.5") if n == 0 else text("a")

    with playing(script) as server:
        found = engine(server.url, concurrency=1).generate(requests(3))
    assert [c.finish for c in found] == ["stop"] * 3
    assert server.times[1] - server.times[0] >= 0.5
    assert len(server.bodies) == 4


# ---------------------------------------------------------------------------------- tried again

PASSING = {
    "500": problem(500),
    "503 of a proxy": (503, {"content-type": "text/html"}, b"<html>Bad gateway</html>"),
    "429": problem(429),
    "half of the JSON": (200, {"content-type": "application/json"}, b'{"choices": [{"te'),
    "no object": answer([1, 2]),
    "nothing": (200, {}, b""),
    "cut in the middle": (CUT, {"content-type": "application/json"}, b'{"choices"'),
    "broken off": text("keep_ch", "abort"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_tried_again(fault: str) -> None:
    def script(n: int, body: Body) -> Answer:
        with lock:
            seen[number_of(body)] += 1
            first = seen[number_of(body)] <= 2
        return PASSING[fault] if first and number_of(body) == 1 else text("keep_chunk()")

    seen: Counter[int] = Counter()
    lock = threading.Lock()
    with playing(script) as server:
        found = engine(server.url).generate(requests(3))
    assert [(c.text, c.finish) for c in found] == [("keep_chunk()", "stop")] * 3
    assert seen == {0: 1, 1: 3, 2: 1}


@pytest.mark.parametrize("fault", PASSING)
def test_what_does_not_pass_is_an_error_of_its_own(fault: str) -> None:
    def script(n: int, body: Body) -> Answer:
        return PASSING[fault] if number_of(body) == 1 else text("a")

    with playing(script) as server:
        first, second, third = engine(server.url).generate(requests(3))
    assert first.text == third.text == "a"
    assert (second.text, second.finish) == ("", "error")
    assert second.error.endswith(", after 3 attempts")
    assert len(server.bodies) == 5


FINAL = {
    "too long": (problem(400, "maximum context length is 5 tokens"), "400 maximum context length"),
    "unreadable": (problem(422, "extra fields"), "422 extra fields"),
    "no choices": (answer({"choices": []}), "holds no completion"),
    "other names": (answer({"result": "a"}), "holds no completion"),
    "choices of another kind": (answer({"choices": "abc"}), "holds no completion"),
    "no text": (text(None), "holds no text but None"),
    "filtered": (text("a", "content_filter"), "for the reason 'content_filter'"),
    "no reason": (text("a", None), "for the reason None"),
}


@pytest.mark.parametrize("fault", FINAL)
def test_what_is_wrong_with_one_request_is_asked_once(fault: str) -> None:
    played, message = FINAL[fault]
    with playing(lambda n, body: played if number_of(body) == 1 else text("a")) as server:
        first, second, third = engine(server.url).generate(requests(3))
    assert first.text == third.text == "a"
    assert (second.text, second.finish) == ("", "error") and message in second.error
    assert len(server.bodies) == 3


def test_a_server_that_takes_too_long() -> None:
    over = threading.Event()

    def script(n: int, body: Body) -> Answer:
        if number_of(body) == 1:
            over.wait(60)
        return text("a")

    with playing(script) as server:
        found = engine(server.url, timeout=1.0, attempts=8).generate(requests(3))
        over.set()
        assert server.bodies.count(server.bodies[-1]) == 2
    assert [c.finish for c in found] == ["stop", "error", "stop"]
    assert found[1].error == "no answer in time (ReadTimeout), after 2 attempts"


# ---------------------------------------------------------------------------------- the run stops


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_nobody_listens() -> None:
    with pytest.raises(RefinerError, match=r"does not answer: no connection .*Start it, or mend"):
        engine(f"http://127.0.0.1:{free_port()}/v1")
    with pytest.raises(RefinerError, match=r"is no address|does not answer"):
        engine("http://127.0.0.1:port/v1")


def test_a_server_that_goes_away() -> None:
    with playing(lambda n, body: text("a")) as server:
        made = engine(server.url)
        assert made.generate(requests(1))[0].text == "a"
    with pytest.raises(RefinerError, match="does not answer: no connection"):
        made.generate(requests(20))


def test_a_server_that_comes_back() -> None:
    port = free_port()
    with playing(lambda n, body: text("a"), port=port) as server:
        made = engine(server.url, attempts=10, first_pause=0.05)
        assert made.generate(requests(1))[0].text == "a"
    found: list[Completion] = []
    asking = threading.Thread(target=lambda: found.extend(made.generate(requests(5))))
    asking.start()
    time.sleep(0.3)
    with playing(lambda n, body: text("b"), port=port):
        asking.join(60)
    assert [c.text for c in found] == ["b"] * 5


@pytest.mark.parametrize(
    ("played", "message"),
    [
        (problem(401, "bad key"), r"refuses: 401 bad key \(its key is taken from .*OPENAI_API_KEY"),
        (problem(403, "not you"), r"refuses: 403 not you"),
        (problem(404, "no model m"), r"refuses: 404 no model m \(asked for the model 'm'"),
        (PAGE, r"completions is a web page, not an API; the address usually ends in /v1"),
        ((307, {"location": "https://x/v1"}, b""), r"has moved to https://x/v1; use that"),
    ],
)
def test_a_server_that_refuses_everybody(played: Answer, message: str) -> None:
    with playing(lambda n, body: played) as server:
        made = engine(server.url, concurrency=2)
        with pytest.raises(RefinerError, match=message):
            made.generate(requests(30))
    assert len(server.bodies) <= 4


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (problem(401, "bad key"), "refuses: 401 bad key"),
        (PAGE, "is a web page"),
        ((200, {"content-type": "application/json"}, b'{"data": ['), "is not a JSON object"),
        (problem(500, "broken"), r"lists no model \(500 broken, after 3 attempts\); name one"),
        (problem(404), r"lists no model \(404 no\); name one with the option model"),
        (answer({"data": []}), "lists no model"),
        (answer({"other": 1}), "lists no model"),
    ],
)
def test_something_else_than_such_a_server(models: Answer, message: str) -> None:
    with (
        playing(lambda n, body: text("a"), models) as server,
        pytest.raises(RefinerError, match=message),
    ):
        engine(server.url)


@pytest.mark.parametrize("played", [problem(422, "text only"), problem(503, "no GPU")])
def test_a_server_that_fails_everybody(played: Answer) -> None:
    with playing(lambda n, body: played) as server:
        made = engine(server.url, concurrency=4)
        few = made.generate(requests(IN_A_ROW - 1))
        assert {c.finish for c in few} == {"error"}
        with pytest.raises(RefinerError, match=rf"failed {IN_A_ROW} requests in a row, .*with: "):
            made.generate(requests(30))


def test_a_server_that_works_may_refuse_many() -> None:
    def script(n: int, body: Body) -> Answer:
        return text("a") if number_of(body) == 0 else problem(400, "too long")

    with playing(script) as server:
        found = engine(server.url, concurrency=1).generate(requests(40))
    assert [c.finish for c in found] == ["stop"] + ["error"] * 39


def test_the_first_error_does_not_wait_for_the_others() -> None:
    def script(n: int, body: Body) -> Answer:
        if number_of(body) == 7:
            time.sleep(0.2)
            return problem(401, "the key has expired")
        return problem(503)

    with playing(script) as server:
        made = engine(server.url, attempts=8, first_pause=30.0)
        begin = time.monotonic()
        with pytest.raises(RefinerError, match="the key has expired"):
            made.generate(requests(8))
        assert time.monotonic() - begin < 10


ASKING = """
import sys, threading
from burnish.refiners.engines.base import Request
from burnish.refiners.engines.openai_compatible import OpenAiCompatibleEngine

engine = OpenAiCompatibleEngine(sys.argv[1], first_pause=30.0, concurrency=8)
try:
    engine.generate([Request([1, n], 5) for n in range(100)])
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


@pytest.mark.parametrize("busy", [True, False])
def test_an_interrupt_stops_at_once(busy: bool) -> None:
    """While requests are under way, and while they wait for their next attempt."""

    def script(n: int, body: Body) -> Answer:
        begun.release()
        if busy:
            over.wait(20)
        return problem(503)

    begun, over = threading.Semaphore(0), threading.Event()
    with playing(script) as server:
        command = [sys.executable, "-c", ASKING, server.url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            for _ in range(8):
                assert begun.acquire(timeout=20)
            time.sleep(0.2)
            begin = time.monotonic()
            process.send_signal(signal.SIGINT)
            out, told = process.communicate(timeout=60)
        over.set()
    assert (out, told, process.returncode) == (b"stopped\n", b"", 0)
    assert time.monotonic() - begin < 10


def test_another_thread_may_stop_it() -> None:
    over = threading.Event()

    def script(n: int, body: Body) -> Answer:
        over.wait(20)
        return text("a")

    with playing(script) as server:
        made = engine(server.url, timeout=30.0)
        threading.Timer(0.2, made.stop).start()
        begin = time.monotonic()
        for _ in range(2):
            with pytest.raises(RefinerError, match="stopped"):
                made.generate(requests(3))
        assert time.monotonic() - begin < 10
        over.set()


# ---------------------------------------------------------------------------------- scores

CHOICES = [[3, 4, 5], [3, 4, 6], [7], [8, 3], [3, 4, 5]]
TOKENS = range(3, 12)


def chances(context: Sequence[int]) -> dict[int, float]:
    """A language model of nine tokens: log-probabilities after a context."""
    weights = {
        token: (sum(context) * 7 + len(context) * token * token) % 11 + 1 for token in TOKENS
    }
    total = sum(weights.values())
    return {token: log(weight / total) for token, weight in weights.items()}


def expected(prompt: Sequence[int]) -> list[float]:
    return [
        sum(chances([*prompt, *choice[:n]])[token] for n, token in enumerate(choice))
        for choice in CHOICES
    ]


def steps_script(n: int, body: Body) -> Answer:
    """vLLM's way: likelihoods of given tokens at each place of a greedy answer."""
    if body["prompt"][0] == 2:
        return problem(400, "too long")
    context, steps = list(body["prompt"]), []
    for _ in range(body["max_tokens"]):
        found = chances(context)
        best = max(found, key=lambda token: (found[token], -token))
        steps.append({best: found[best], **{t: found[t] for t in body["logprob_token_ids"]}})
        context.append(best)
    return vllm_text("a", steps, "length")


def echo_script(n: int, body: Body) -> Answer:
    """The way of other servers: likelihoods of the prompt's own tokens."""
    choices = []
    for index, ids in enumerate(body["prompt"]):
        if ids[0] == 2:
            return problem(400, "too long")
        told = [None, *(chances(ids[:place]).get(ids[place], -9.0) for place in range(1, len(ids)))]
        choices.append({"index": index, "text": "", "logprobs": {"token_logprobs": [*told, -0.1]}})
    return answer({"choices": choices[::-1]})


@pytest.mark.parametrize("vllm", [True, False])
def test_scores(vllm: bool) -> None:
    models = answer({"data": [{"id": "m", "owned_by": "vllm"}]}) if vllm else None
    prompts = [[3, 5, n] for n in range(12)] + [[2, 5]]
    with playing(steps_script if vllm else echo_script, models) as server:
        for dtype, most in (("float32", 13), ("bfloat16", 1)):
            server.most = 0
            *found, failed = engine(server.url, dtype=dtype).score(prompts, CHOICES)
            assert found == [pytest.approx(expected(prompt)) for prompt in prompts[:12]]
            assert len(failed) == len(CHOICES) and all(map(isnan, failed))
            assert 1 <= server.most <= most
        if vllm:
            salts = {(body["cache_salt"], tuple(body["prompt"][:3])) for body in server.bodies}
            assert len({salt for salt, _ in salts}) == len(salts)  # each document has its own


def test_a_server_that_does_not_tell_likelihoods() -> None:
    with (
        playing(lambda n, body: text("a")) as server,
        pytest.raises(RefinerError, match=r"does not tell how likely .*api=chat"),
    ):
        engine(server.url).score([[3, 5]], CHOICES)


# ---------------------------------------------------------------------------------- as refiner


def test_a_failed_request_is_a_failed_document(tmp_path: Path) -> None:
    """And never one that is kept or dropped."""
    pytest.importorskip("tokenizers", reason="a language model needs tokenizers")
    from small_pages import PAGES, made_pages, write_card, write_tokenizer

    from burnish.refiners import EngineChoice, load_refiner
    from burnish.schema import Document, Status
    from burnish.stages import Pipeline, Stage

    write_tokenizer(tmp_path, "llama", made_pages(PAGES))
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 2048, "eos_token_id": 2}')
    card = write_card(tmp_path, "llama", "prox-chunk")

    def script(n: int, body: Body) -> Answer:
        return problem(400, "I will not") if len(body["prompt"]) > 100 else text(" keep_chunk()")

    with playing(script) as server:
        refiner, spec = load_refiner(str(card), "chunk", EngineChoice(server.url))
        documents = [Document("1", "a"), Document("2", "tides " * 200), Document("3", "b")]
        records = list(Pipeline([Stage(spec, refiner)]).run(documents))
    assert [record.status for record in records] == [Status.KEPT, Status.FAILED, Status.KEPT]
    issue = records[1].traces[0].issues[0]
    assert (issue.code, issue.message) == ("engine", "400 I will not")


# ---------------------------------------------------------------------------------- real servers

needs_vllm = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")
FLOAT = (("dtype", "float32"),)


@pytest.fixture(scope="module")
def vllm(llama: Path) -> Iterator[Server]:
    with vllm_server(llama, max_model_len=2_048) as server:
        yield server


@pytest.mark.engines
@needs_vllm
@pytest.mark.parametrize("dialect", ["prox-chunk", "prox-document"])
@pytest.mark.parametrize("constrained", [True, False])
def test_real_programs(llama: Path, vllm: Server, dialect: str, constrained: bool) -> None:
    from small_pages import PAGES, gold, made_pages

    from burnish.dialects import get_dialect
    from burnish.program.lines import Chunk
    from burnish.refiners import EngineChoice, load_refiner

    stage = "document" if dialect == "prox-document" else "chunk"
    choice = EngineChoice(vllm.url, FLOAT, constrained)
    refiner, _ = load_refiner(str(llama / f"{dialect}.json"), stage, choice)
    pages = made_pages(PAGES)
    chunks = [Chunk.whole(page.text) for page in pages]
    for page, chunk, draft in zip(pages, chunks, refiner.write(chunks), strict=True):
        told = get_dialect(dialect).format(gold(page, dialect), chunk)
        assert draft.program == get_dialect(dialect).parse(told, chunk).program
        assert bool(draft.scores) == (dialect == "prox-document")


@pytest.mark.engines
@needs_vllm
def test_real_faults(llama: Path, vllm: Server) -> None:
    made = engine(vllm.url)
    answers = made.generate(
        [
            Request([1, 300, 301], 9, 'root ::= "a"'),
            Request([1, 300, 301], 9, "root ::= ("),
            Request([1] * 2_048, 9),
            Request([1, 99_999], 9),
            Request([1] * 2_045, 900),
        ]
    )
    assert [a.finish for a in answers] == ["stop", "error", "error", "error", "length"]
    assert answers[0].text.strip() == "a"
    with pytest.raises(RefinerError, match=r"refuses: 404 .*does not exist.*'other'"):
        engine(vllm.url, model="other").generate(requests(1))
    (long,) = made.score([[1] * 2_048], [[300, 301], [302]])
    assert all(map(isnan, long))
    short = [[1, 300, 301], [1, 400]]
    choices = [[300, 301], [302], [300, 302, 303]]
    by_echo = engine(vllm.url, grammar="none").score(short, choices)
    assert made.score(short, choices) == [pytest.approx(each, abs=1e-4) for each in by_echo]


def refine(
    folder: Path, source: Path, output: Path, url: str, **options: object
) -> subprocess.Popen[str]:
    """`burnish refine` with both small refiners of the folder."""
    given = [f"--engine-option={name}={value}" for name, value in options.items()]
    command = [
        *(sys.executable, "-m", "burnish", "refine", str(source), "-o", str(output)),
        *("--refiner", str(folder / "prox-document.json")),
        *("--refiner", str(folder / "prox-chunk.json")),
        *("--engine", url, "--engine-option=dtype=float32", *given),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def contents(output: Path) -> dict[str, bytes]:
    """All files of a run, but for what is about time."""
    return {
        str(path.relative_to(output)): path.read_bytes()
        for kind in ("documents", "dropped", "programs", "rejected")
        for path in sorted((output / kind).rglob("*"))
        if path.is_file()
    }


@pytest.mark.engines
@needs_vllm
def test_a_run_goes_on_after_its_server_was_killed(llama: Path, tmp_path: Path) -> None:
    from small_pages import made_pages

    source, output, undisturbed = (tmp_path / name for name in ("in", "out", "whole"))
    source.mkdir()
    for n in range(8):
        rows = [json.dumps({"id": f"{n}-{m}", "text": page.text})
                for m, page in enumerate(made_pages(60, seed=20 + n))]  # fmt: skip
        (source / f"{n}.jsonl").write_text("\n".join(rows) + "\n", "utf-8")

    with vllm_server(llama, max_model_len=2_048) as server:
        process = refine(llama, source, output, server.url, attempts=3, first_pause=0.1)
        end = time.monotonic() + 200
        while len(list((output / "programs").glob("*.zst"))) < 2 and time.monotonic() < end:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        server.kill()
        _, told = process.communicate(timeout=60)
        assert process.returncode == 1, told
        assert "does not answer" in told and "Traceback" not in told
        assert 2 <= len(contents(output)) < 16
    with vllm_server(llama, max_model_len=2_048, port=server.port) as again:
        assert again.url == server.url
        for place in (output, undisturbed):
            process = refine(llama, source, place, again.url, attempts=3, first_pause=0.1)
            _, told = process.communicate(timeout=300)
            assert process.returncode == 0, told
    assert contents(output) == contents(undisturbed)
    assert len(contents(output)) >= 16
    summary = json.loads((undisturbed / "summary.json").read_text("utf-8"))
    assert summary == json.loads((output / "summary.json").read_text("utf-8"))


@pytest.mark.slow
def test_a_plain_server_by_chat(request: pytest.FixtureRequest) -> None:
    """The server of transformers: no token ids, no grammars, no likelihoods."""
    for library in ("fastapi", "uvicorn", "openai", "accelerate"):
        pytest.importorskip(library, reason=f"transformers serve needs {library}")
    qwen3 = request.getfixturevalue("qwen3")
    from small_pages import PAGES, gold, made_pages

    from burnish.dialects import get_dialect
    from burnish.program.lines import Chunk
    from burnish.refiners import EngineChoice, load_refiner

    pages = made_pages(PAGES)
    chunks = [Chunk.whole(page.text) for page in pages]
    with transformers_server(qwen3) as server:
        options = (("api", "chat"), ("concurrency", 2), ("model", str(qwen3)))
        choice = EngineChoice(server.url, options, constrained=False)
        refiner, _ = load_refiner(str(qwen3 / "ultrax.json"), "chunk", choice)
        drafts = refiner.write(chunks)
    for page, chunk, draft in zip(pages, chunks, drafts, strict=True):
        told = get_dialect("ultrax").format(gold(page, "ultrax"), chunk)
        assert draft.program == get_dialect("ultrax").parse(told, chunk).program
