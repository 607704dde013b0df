"""The CNN: data, networks, training, calibration, thresholds, bundles, evaluation."""
