"""One module per command of `alexnet`; `app` combines them."""
