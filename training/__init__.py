"""Everything that produces an artifact: data sets, cache, recipe, loop, publishing."""
