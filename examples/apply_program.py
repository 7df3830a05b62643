"""Executes a program that a model might have written, and undoes it.

python examples/apply_program.py
"""

from __future__ import annotations

import burnish

PAGE = """\
Home | News | Contact
An otter needs about ten kilometres of river. Read more »
def pieces(path):
    yield path
Share on Facebook"""

# Bullets, a fence, both spellings, a sentence, and a last call that the token limit cut off.
PROGRAM = """\
```python
- remove_lines(line_start=0, line_end=0)
- normalize(source_str=" Read more »", target_str="")
- remove_lines(start=4, end=99)  # clamped to the last line
I would not use drop_doc() here.
- remove_lines(2,"""

outcome = burnish.execute(PAGE, PROGRAM, dialect="prox-chunk")

print(outcome.status)
print(outcome.text)
for issue in outcome.issues:
    print(f"  {issue}")
assert outcome.original == PAGE
