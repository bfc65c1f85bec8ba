"""An index in a folder: its files, and FolderIndex."""
