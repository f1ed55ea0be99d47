"""Speed, memory and scaling, held against what must be shown: ``python -m benchmarks.speed``."""
