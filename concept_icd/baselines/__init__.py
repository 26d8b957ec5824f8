"""Systems that the coder is compared with: `concept-icd baseline NAME` runs each on a prepared corpus.

    frequency         each code's share of the training notes
    tfidf_svm         words and characters, one linear SVM a code
    lora_classifier   the coder's kind of LLM with a classification head, without concepts
    cec               concept-enhanced coding as its authors released it
    ltr_icd           LTR-ICD, and PLM-ICD's classifier

All leave a folder with a manifest and the `predictions.jsonl` of one split, which `concept-icd evaluate` and `compare`
read (`corpus`); those that train a network share their options and their run (`training`). None sees the gold codes of
what it predicts: they predict `Note` records, which have none.
"""
