"""The only reader of image folders and tables: their files, classes and splits, and what is skipped."""
