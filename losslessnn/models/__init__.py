"""Models: what a sample is expected to be, given what is known before it.

    channels, conversion, points    how an array becomes rows of positions on a converter's scale
    fit, network, latent_fit        models are fitted to them: linear and adaptive, networks, latents
    prediction, autoregressive,     what a model says of samples, and the bytes it makes of them
    latent, vae
    side, sight, segments           how models are written down
    store                           profiles: models that are kept
    encoding, decoding              all of it, in order; which model, and what pays
    devices                         on the CPU or a GPU
"""
