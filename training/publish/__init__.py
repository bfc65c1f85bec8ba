"""Publishing a run: artifact, calibration, report, figures, packed network, provenance."""
