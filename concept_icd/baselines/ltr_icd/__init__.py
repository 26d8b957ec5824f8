"""LTR-ICD as we read it, and PLM-ICD's classifier as its plain form.

LTR-ICD (Mansoori, Soliman and Etminani, arXiv 2510.13922). What was read of the paper: a ClinicalT5 encoder shared by
both tasks; segments of a long note encoded alone, their states one behind the other (`model`); label attention of
two stacked convolutions for the classes (`label_attention`); a T5 decoder that writes the codes in order (`decoding`);
one ranking from both. The paper's body was not to be had, so what follows is our reading and not the authors': one
label attention for diagnoses and one for procedures, the target sequence and its marks, the sum of the two losses and
its weight, and the rule of merging (`predicting`). Every number is an option with its reason (`config`).

PLM-ICD (Huang, Tsai and Chen 2022) is the released script's model where the options are those of `config.PLM_ICD`, as
in configs/ltr-icd/plm-icd.yaml; label attention with other options goes by its own name.
"""
