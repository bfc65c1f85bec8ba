"""Images: decoding, preprocessing and crops."""
