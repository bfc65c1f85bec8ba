"""Training and evaluation of the network for ordinary photographs, and its gallery."""
