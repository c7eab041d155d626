"""How contents become vectors: planned, read, prepared, encoded and published, one work unit after the other."""
