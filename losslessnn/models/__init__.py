"""Models: what a sample is expected to be, given what is known before it.

* `channels`, `arrangement`: which values of an array are of one channel.
* `conversion`, `points`, `point_trial`: how their codes become positions on a converter's scale.
* `fit`, `network`, `latent_fit`: how models are fitted to them: linear and adaptive, networks, latents.
* `prediction`, `sight`: what an encoder predicts, and what a network may look at.
* `autoregressive`, `latent`, `vae`: what a model says of samples, and the bytes it makes of them.
* `side`, `segments`: how models are written down.
* `store`, `closed_form`: profiles, which are models that are kept, and what they hold besides networks.
* `encoding`, `decoding`: all of it in order: which model, and what pays.
* `devices`: on the CPU or a GPU.
"""
