"""Drift: live traffic against what the network was normalized for, layer by layer.

`baseline` is the reference, `window` a stretch of traffic, `scores` their distance, `verdict` what
to say of it, `changes` the known changes of pictures, `causes` the mistakes that explain an input,
`monitor` the ring of windows, `state` its file; `reading` finds the reference in a bundle. NumPy
only: nothing here runs a network or knows HTTP.
"""
