"""Experts: base learners that are stacked with the concept scores by the aggregator.

An *expert* answers for a code directly, without questions: from the drugs of the stay (`drugs`), from the words of the
note (`words`), from what the classification calls the code (`terms`). Its log-odds of a code are one more column beside
the concepts that cover the code, so that the aggregator weighs them, and a result names them, like any concept. They
are fitted out-of-fold, in the folds in which the heads are cross-validated (stacking: Wolpert 1992, "Stacked
generalization").
"""
