"""What holds for every test, chosen before anything reads it.

Triton's kernels run in its interpreter; `make test-gpu` compiles them. Hypothesis draws the same examples every time, so that a
check says something of the change and not of the draw; `make fuzz` draws new ones.
"""

import os

from hypothesis import settings

os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("steady", derandomize=True, database=None)
settings.register_profile("fuzz", print_blob=True)
settings.load_profile(os.environ.get("PLAIT_HYPOTHESIS", "steady"))
