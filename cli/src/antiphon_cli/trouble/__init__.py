"""`make bench-trouble`: starts what the cases of `antiphon_bench.trouble` call, and runs them."""
