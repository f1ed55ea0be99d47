"""Integer kernels: :mod:`reference` says what each one computes, :mod:`cpu` does it fast."""
