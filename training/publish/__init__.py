"""Publishing a run: artifact, report, figures, packed network, provenance."""
