"""LTR-ICD (Mansoori, Soliman and Etminani, arXiv 2510.13922), whole, and PLM-ICD's classifier as its plain form.

A T5 encoder reads the note in segments (`segments`), label attention classifies (`label_attention`), a T5 decoder
writes the codes in billing order (`decoding`), and both make one ranking (`merging`). What the paper leaves open is an
option with its reason (`options`).
"""
