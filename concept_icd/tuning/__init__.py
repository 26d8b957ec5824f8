"""LoRA tuning on packed sequences, with adapters that are blind to a fold of the notes."""

import concept_icd.llm  # noqa: F401  before trl is imported: it quiets bitsandbytes
