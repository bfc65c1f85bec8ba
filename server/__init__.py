"""HTTP: name an image, find the images most like it, and the page that shows both."""
