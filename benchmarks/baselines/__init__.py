"""What the program is compared with: other methods and other servers."""
