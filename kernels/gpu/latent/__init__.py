"""Bits-back on a GPU: factor models and variational autoencoders, a program for a chunk."""
