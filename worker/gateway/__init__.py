"""
The one way out of a sandbox: a program beside each run that adds the real key to what its agent asks a model.

`python -m worker.gateway` is that program; `settings` know whose key it is given, the run starts and ends it.
"""
