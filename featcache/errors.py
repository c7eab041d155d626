"""The errors that featcache raises on purpose: everything else is a bug."""

__all__ = ["FeatcacheError", "FingerprintMismatch", "ImageError", "ManifestError", "ModelError", "ShardError"]


class FeatcacheError(Exception):
    """Something that a person can put right: the message says what was expected, what was found, and where."""


class ManifestError(FeatcacheError):
    """The list of samples breaks its own rules."""


class ModelError(FeatcacheError):
    """A model folder or hub id cannot serve as the encoder that was asked for."""


class ImageError(FeatcacheError):
    """One picture cannot be decoded within the limits; extraction records it and goes on."""


class ShardError(FeatcacheError):
    """A file of the cache is not what its contract says."""


class FingerprintMismatch(FeatcacheError):
    """Features come from another producer than the one that was asked for."""
