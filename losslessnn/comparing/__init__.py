"""Other compressors beside ours, and what moving values saves: for `losslessnn bench` and benchmarks."""
