"""How good pictures are: the Fréchet distance, over features of an encoder that knows digits and emoji."""

from genfuse.evaluate.encoder import FEATURES, Encoder, encoder
from genfuse.evaluate.frechet import fid, frechet_distance

__all__ = ["FEATURES", "Encoder", "encoder", "fid", "frechet_distance"]
