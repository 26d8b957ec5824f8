"""Names of what a tuning run leaves behind, for those who read it without the training libraries."""

CONCEPTS, PROMPT, FOLDS, ADAPTER = "concepts.json", "prompt.yaml", "folds.json", "adapter"
