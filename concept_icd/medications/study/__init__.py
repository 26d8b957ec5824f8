"""The study of the medication network: search, runs, figures and page (Marcou et al. 2024)."""
