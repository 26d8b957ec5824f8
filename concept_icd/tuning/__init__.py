"""LoRA tuning on packed sequences, with adapters that are blind to a fold of the notes; and the tiny base model."""
