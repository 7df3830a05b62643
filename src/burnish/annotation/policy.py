"""What is asked about each document, and what the answers mean."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from burnish.errors import UsageError
from burnish.program.derive import MODES, Mode
from burnish.program.limits import Limits

STAGES = ("document", "chunk", "rewrite")
CALLS = ("auto", "joint", "separate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The settings of annotation that decide about labels.

    Attributes:
        stages: of `STAGES`: scores of the document, programs for its windows, or programs derived
            from the clean text that a teacher wrote.
        calls: "joint" asks for all scores, or all kinds of noise, at once, "separate" one by one;
            "auto" finds out on a few documents whether that makes a difference, and asks jointly
            if not.
        keep_edu, keep_format: a document is kept with an educational score of `keep_edu` or more,
            and with one less if its format score is `keep_format` or more (ProX, appendix; what the
            paper leaves open is dropped).
        only_kept: windows are asked about only in documents that are kept.
        window: largest window in characters, LF included; 6,000 are about the 1,500 tokens of the
            paper.
        windows: how many windows of a document are asked about, at most.
        mode: what a rewriting teacher may do: "delete", "edit" or "insert".
        limits: of the programs that become labels.
        attempts: how often a teacher is asked whose answer can not be used.
        thinking_tokens: room for thoughts before an answer.
        seed: of the choice of windows.
        prompts: a folder with prompts of one's own, laid out like `recipes/annotation`.
    """

    stages: tuple[str, ...]
    calls: str = "auto"
    keep_edu: int = 3
    keep_format: int = 4
    only_kept: bool = False
    window: int = 6_000
    windows: int = 1
    mode: Mode = "edit"
    limits: Limits = field(default_factory=Limits)
    attempts: int = 2
    thinking_tokens: int = 0
    seed: int = 0
    prompts: Path | None = None

    def check(self) -> None:
        """Raises UsageError for settings that can not be meant."""
        if not self.stages:
            raise UsageError("nothing to ask: choose --document, --chunk or --rewrite, or several")
        unknown = set(self.stages) - set(STAGES)
        if unknown:
            raise UsageError(f"unknown stage {unknown.pop()!r}; known: {', '.join(STAGES)}")
        if "chunk" in self.stages and "rewrite" in self.stages:
            raise UsageError("chunk and rewrite label the same lines; choose one of them")
        for name, value, known in (("calls", self.calls, CALLS), ("mode", self.mode, MODES)):
            if value not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}, not {value!r}")
        if self.only_kept and "document" not in self.stages:
            raise UsageError("which documents are kept is known only with --document")
        if min(self.window, self.windows, self.attempts) < 1 or self.thinking_tokens < 0:
            raise UsageError(
                "window, windows and attempts are at least 1, thinking_tokens at least 0"
            )

    def keeps(self, edu: int, form: int) -> bool:
        """Whether a document with these scores is kept."""
        return edu >= self.keep_edu or (edu == self.keep_edu - 1 and form >= self.keep_format)

    @property
    def asks_calls(self) -> bool:
        """Whether something can be asked at once or one by one."""
        return self.stages != ("rewrite",)

    @property
    def line_stage(self) -> str | None:
        """The stage that labels lines, if one does."""
        return next((stage for stage in self.stages if stage != "document"), None)

    def to_json(self) -> dict[str, Any]:
        prompts = None if self.prompts is None else self.prompts.name
        return {**asdict(self), "stages": list(self.stages), "prompts": prompts}
