"""The 2012 network and its artifact: what is computed, and the folder that holds it."""
