"""The one reader of folders and tables of images: which files there are, their classes and splits, what is left out."""
