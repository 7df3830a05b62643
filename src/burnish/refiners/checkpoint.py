"""A language model's folder: where it comes from, its tokenizer, and how prompts are framed for it.

A folder is a Hugging Face checkpoint (config.json, tokenizer.json, weights) or what an engine made
of one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from burnish.errors import HubError, MissingExtra, RefinerError
from burnish.refiners.folder import model_files
from burnish.refiners.tokens import Tokens
from burnish.spec import HUB

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
)
"""What a model's tokenizer and chat template may consist of."""

_SLOT = "\x00"  # stands for the user's text while a template is filled

_LLAMA2 = "{bos}[INST] {system}{user} [/INST]"
_LLAMA2_SYSTEM = "<<SYS>>\n{system}\n<</SYS>>\n\n"
_QWEN3 = (
    "{system}<|im_start|>user\n{user}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
)
_QWEN3_SYSTEM = "<|im_start|>system\n{system}<|im_end|>\n"
_MARKS = re.compile(r"<\|\w+\|>|</?think>")
_PLAIN = "{bos}{system}{user}\n"
_PLAIN_SYSTEM = "{system}\n\n"


def find_weights(
    weights: str, revision: str | None, beside: Path, *, tokenizer_only: bool = False
) -> Path:
    """The folder of a model: "hf:organisation/name" is fetched from the hub unless it is there
    already; anything else is a folder, relative to `beside`. `tokenizer_only` leaves out what only
    an engine needs.

    Raises RefinerError if it can not be had, MissingExtra if fetching needs a library.
    """
    if not weights.startswith(HUB):
        folder = beside / weights
        if not folder.is_dir():
            raise RefinerError(f"there is no folder {folder}, where the model should be")
        return folder
    from burnish.io import hub

    name = weights.removeprefix(HUB)
    wanted = ["*.json", "*.jinja"] + ([] if tokenizer_only else ["*.safetensors"])
    try:
        found = hub.kept(name, revision=revision, only=wanted)
        if found is None or not _is_whole(found, tokenizer_only):
            found = hub.fetch(name, revision=revision, only=wanted)
    except HubError as error:
        raise RefinerError(
            f"{error}. Where there is no network: fetch it elsewhere (hf download), copy the "
            "folder, put its card into it (burnish refiners NAME --card > FOLDER/card.json) and "
            "name the folder as refiner"
        ) from None
    return found


def _is_whole(folder: Path, tokenizer_only: bool) -> bool:
    """Whether a download holds all that is needed of it."""
    if not (folder / "tokenizer.json").is_file():
        return False
    return tokenizer_only or all((folder / name).is_file() for name in model_files(folder))


@dataclass(frozen=True, slots=True)
class Template:
    """How a prompt is framed, in pieces: ids, the text around the user's, ids."""

    before: tuple[int, ...]
    left: str
    right: str
    after: tuple[int, ...]

    def encode(self, tokens: Tokens, user: str) -> list[int]:
        """The ids of a whole prompt. Strings in `user` that look like special tokens are text."""
        return [*self.before, *tokens.encode(self.left + user + self.right), *self.after]


class Checkpoint:
    """The files of a model that are not its weights."""

    def __init__(self, folder: Path) -> None:
        """Raises RefinerError for a folder without a usable tokenizer."""
        self.folder = folder
        self.config = _json(folder / "config.json")
        self.tokens = Tokens(folder / "tokenizer.json")
        self._settings = _json(folder / "tokenizer_config.json")
        self._generation = _json(folder / "generation_config.json")

    @property
    def context(self) -> int | None:
        """The longest sequence in tokens that the model was made for, if it says so."""
        length = self.config.get("max_position_embeddings")
        return length if isinstance(length, int) else None

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids that end an answer. Raises RefinerError if the files name none."""
        named = self._token("eos_token")
        found = [self.tokens.special(named)] if named else []
        for place in (self._generation, self.config):
            ids = place.get("eos_token_id")
            found += ids if isinstance(ids, list) else [ids] if isinstance(ids, int) else []
        if not found:
            raise RefinerError(
                f"{self.folder} names no end token: set eos_token in tokenizer_config.json"
            )
        return tuple(dict.fromkeys(found))

    @property
    def has_template(self) -> bool:
        """Whether it brings a chat template of its own."""
        return (self.folder / "chat_template.jinja").is_file() or bool(
            self._settings.get("chat_template")
        )

    @property
    def has_bos(self) -> bool:
        """Whether it names a token that begins a sequence."""
        ids = (place.get("bos_token_id") for place in (self._generation, self.config))
        return self._token("bos_token") is not None or any(isinstance(n, int) for n in ids)

    def template(self, name: str, system: str) -> Template:
        """The frame of a prompt with this system text (see `burnish.spec.ModelSpec.template`).

        Raises RefinerError where the model lacks what the template needs.
        """
        if name == "own":
            filled = self._filled_own(system)
        else:
            frame, system_frame = {
                "llama2": (_LLAMA2, _LLAMA2_SYSTEM),
                "qwen3": (_QWEN3, _QWEN3_SYSTEM),
                "plain": (_PLAIN, _PLAIN_SYSTEM),
            }[name]
            filled = frame.format(
                bos=self._bos(name),
                system=system_frame.format(system=system) if system else "",
                user=_SLOT,
            )
            missing = set(_MARKS.findall(frame)) - set(self._special_names())
            if missing:
                raise RefinerError(
                    f"{self.folder}: the template {name!r} needs the tokens "
                    f"{', '.join(sorted(missing))}, which the model does not have"
                )
        return self._split(filled)

    def _bos(self, template: str) -> str:
        """The token that begins a sequence; none for a template or a model without one."""
        if template == "qwen3":
            return ""
        named = self._token("bos_token")
        identity = self._generation.get("bos_token_id", self.config.get("bos_token_id"))
        if named is None and isinstance(identity, int):
            named = self.tokens.name(identity)
        if named is None and template == "llama2":
            raise RefinerError(f"{self.folder} names no bos_token, which the template llama2 needs")
        return named or ""

    def _filled_own(self, system: str) -> str:
        """The model's own chat template, with a slot for the user's text; thinking off."""
        source = self._own_template()
        try:
            from jinja2 import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise MissingExtra("the model's chat template", "jinja2", "transformers") from None
        messages = [{"role": "system", "content": system}] if system else []
        messages.append({"role": "user", "content": _SLOT})
        tokens = {n: self._token(n) or "" for n in ("bos_token", "eos_token")}
        jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        jinja.globals["raise_exception"] = _raise
        try:
            filled: str = jinja.from_string(source).render(
                messages=messages, add_generation_prompt=True, enable_thinking=False, **tokens
            )
        except TemplateError as error:
            raise RefinerError(f"{self.folder}: its chat template fails: {error}") from None
        if filled.count(_SLOT) != 1:
            raise RefinerError(f"{self.folder}: its chat template changes what the user says")
        return filled

    def _own_template(self) -> str:
        path = self.folder / "chat_template.jinja"
        if path.is_file():
            return path.read_text("utf-8")
        source = self._settings.get("chat_template")
        if isinstance(source, list):  # several, by name
            source = {t.get("name"): t.get("template") for t in source}.get("default")
        if not isinstance(source, str):
            raise RefinerError(
                f"{self.folder} has no chat template; its card must name another one as "
                '"model.template": "llama2", "qwen3" or "plain"'
            )
        return source

    def _split(self, filled: str) -> Template:
        """A filled template in pieces around the user's text."""
        bos = self._token("bos_token")
        names = [*self._special_names(), *([bos] if bos else [])]
        names.sort(key=len, reverse=True)
        pattern = "|".join(map(re.escape, names))
        pieces = re.split(f"({pattern})", filled) if names else [filled]
        before: list[int] = []
        after: list[int] = []
        left = right = ""
        ids = before
        for piece in pieces:
            if piece in names:
                ids.append(self.tokens.special(piece))
            elif _SLOT in piece:
                left, right = piece.split(_SLOT)
                ids = after
            elif piece:
                ids.extend(self.tokens.exactly(piece))
        return Template(tuple(before), left, right, tuple(after))

    def _special_names(self) -> list[str]:
        added = _json(self.folder / "tokenizer.json").get("added_tokens", [])
        return [entry["content"] for entry in added]

    def _token(self, name: str) -> str | None:
        value = self._settings.get(name)
        if isinstance(value, dict):
            value = value.get("content")
        return value if isinstance(value, str) else None


def spoken(template: Template, program: str) -> str:
    """A program as a model is taught to begin it: behind a visible character of the frame, such as
    Llama 2's `[/INST]`, there is a blank."""
    close = not template.after and template.right and not template.right[-1].isspace()
    return f" {program}" if close else program


def answer_ids(tokens: Tokens, template: Template, answers: Sequence[str]) -> list[list[int]]:
    """The ids of answers where they stand directly behind the prompt."""
    if template.after:
        return [tokens.exactly(answer) for answer in answers]
    anchor = tokens.exactly(template.right) if template.right else []
    found = []
    for answer in answers:
        ids = tokens.exactly(template.right + answer)
        behind = ids[len(anchor) :] if ids[: len(anchor)] == anchor else None
        found.append(behind or list(tokens.after_anchor(answer)))
    return found


def _raise(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise RefinerError(f"{path} can not be read: {error}") from None
    return found if isinstance(found, dict) else {}
