"""Triton's kernels run in its interpreter, which has to be chosen before anything imports them; `make test-gpu` compiles them."""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")
