"""How running out of memory looks, on a GPU and on the CPU."""

from __future__ import annotations

import torch

#: What torch's allocator for the CPU says, on Linux and elsewhere; oneDNN and C++ have words of their own.
_SENTENCES = ("can't allocate memory", "not enough memory", "out of memory", "bad_alloc", "could not create a memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch raises a plain RuntimeError."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sentence in str(error) for sentence in _SENTENCES)
