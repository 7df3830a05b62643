"""From a text and its clean form to the program that makes the one of the other."""

import burnish

PAGE = """Home | News | Contact
The otters of the Lenne
An otter eats a kilogram of fish a day. Read more
Copyright 2024"""

CLEAN = """The otters of the Lenne
An otter eats a kilogram of fish a day."""

found = burnish.derive(PAGE, CLEAN)
assert found.program is not None and found.outcome is not None
for operation in found.program:
    print(operation)
assert found.outcome.text == CLEAN  # proved by executing it, character for character
assert found.outcome.original == PAGE

cut_off = burnish.derive(PAGE, "The otters of the Lenne\nAn otter eats")
print("no program:", cut_off.reason)
