"""What `concept-icd doctor` looks at: the machine, the installed packages, the MIMIC-III folder, and what a run costs.

It reads; it changes nothing, downloads nothing and prints no note text.
"""
