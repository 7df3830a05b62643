"""The peer of `throughput.py`: datatrove's quality filters over JSONL files, one task, one worker.

    PYTHON benchmarks/datatrove_filters.py OUTPUT INPUT...

Order and options are those of FineWeb: Gopher repetition, Gopher quality, C4 quality without its
terminal-punctuation rule, FineWeb quality, all for English (spaCy's blank English tokenizer). The
documents that pass are written as plain JSONL, so that no compression is charged to the peer.
"""

from __future__ import annotations

import sys
from pathlib import Path

from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter


def main(output: str, *inputs: str) -> None:
    folder = Path(inputs[0]).parent
    names = Path(output) / "inputs.txt"
    names.parent.mkdir(parents=True)
    names.write_text("\n".join(Path(file).name for file in inputs))
    LocalPipelineExecutor(
        pipeline=[
            JsonlReader(str(folder), paths_file=str(names)),
            GopherRepetitionFilter(),
            GopherQualityFilter(),
            C4QualityFilter(filter_no_terminal_punct=False),
            FineWebQualityFilter(),
            JsonlWriter(f"{output}/kept", compression=None),
        ],
        tasks=1,
        workers=1,
        logging_dir=f"{output}/logs",
    ).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
