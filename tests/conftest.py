"""What holds for every test, chosen before anything reads it.

Triton's kernels run in its interpreter; `make test-gpu` compiles them. Hypothesis draws the same examples every time,
so that a check says something of the change and not of the draw, nor of how busy the machine
is; `make fuzz` draws new ones.
"""

import os

from hypothesis import settings

os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("steady", derandomize=True, database=None, deadline=None)
settings.register_profile("fuzz", print_blob=True, deadline=None)
settings.load_profile(os.environ.get("PLAIT_HYPOTHESIS", "steady"))
