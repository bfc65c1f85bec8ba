"""Data sets: folders, tables and archives, the cache of decoded images, augmentation."""
