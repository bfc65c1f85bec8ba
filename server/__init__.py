"""HTTP: name a picture, find the pictures most like it, and the page that shows both."""
