"""The light heads over concept scores: aggregator, calibration, threshold, ranker. They know nothing of text."""
