"""The network for ordinary photographs: how it is made from a list of images."""
