"""Unit, contract, end-to-end and fault tests; `conftest.py` trains the small network that they share."""
