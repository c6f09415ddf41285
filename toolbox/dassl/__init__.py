"""Training engine with the public API of Dassl 0.6.3, written anew for few-shot work on current PyTorch."""

__version__ = "0.6.3.post1"
