"""What a reviewer asks to see beside the coder: `concept-icd baseline NAME` runs each on a prepared corpus.

`tfidf_svm` plain words; `lora_classifier` the same kind of LLM with a classification head; `cec` concept-enhanced
coding as its authors released it; LTR-ICD and PLM-ICD lie in `concept_icd.baselines.ltr_icd`. All leave a folder with
`predictions.jsonl` of one split, which `concept-icd evaluate` and `compare` read, and a manifest. None sees the gold
codes of what it predicts: they predict `Note` records, which have none.
"""
