"""Datasets: folders, tables and archives, the cache of decoded images, augmentation, and the loader of crops."""
