"""One module per command of `alexnet`; `app` puts them together."""
