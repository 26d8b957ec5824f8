"""Diagnosis codes at every level of the tree from the drugs, the sex and the age of a stay (Marcou et al. 2024)."""
