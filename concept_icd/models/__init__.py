"""Other systems, measured beside the concept coder on the same notes and by the same metrics."""
