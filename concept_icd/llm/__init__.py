"""The language model: how a packed pass goes through it, and whether it can."""

import logging

# When bitsandbytes is imported (peft and trl do so), it looks for an optional CPU kernel and warns where there is none.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
