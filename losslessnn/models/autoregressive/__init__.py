"""The autoregressive model: every channel is predicted from its own past and from the channels before it.

model        what a frame stores of it
correction   what its network makes of an encoder's predictions
intervals    what its head gives every sample
encoder      samples into words, or what they would take
window       the part of a recording that is being coded
decoder      words into samples
"""
