"""When callers have finished, and when policies say so: a self-made set of hesitant utterances, heard and scored."""
