"""How good pictures are: quality, diversity, copies, over features of our encoder or of any other."""

from genfuse.evaluate.birthday import Birthday, alike_within, birthday
from genfuse.evaluate.encoder import FEATURES, Encoder, encoder
from genfuse.evaluate.features import features_of
from genfuse.evaluate.fid_infinity import fid_infinity
from genfuse.evaluate.frechet import fid, frechet_distance
from genfuse.evaluate.memorisation import Copies, TrainingSet
from genfuse.evaluate.mifid import mifid
from genfuse.evaluate.modes import Counts
from genfuse.evaluate.moments import Moments
from genfuse.evaluate.neighbours import nearest
from genfuse.evaluate.path_length import perceptual_path_length
from genfuse.evaluate.perceptual import PerceptualDistance, diversity
from genfuse.evaluate.precision_recall import Manifolds, manifolds
from genfuse.evaluate.pretrained import Inception, clip, inception
from genfuse.evaluate.reservoir import Reservoir
from genfuse.evaluate.standard import clip_score, inception_score, kernel_distance

__all__ = [
    "FEATURES",
    "Birthday",
    "Copies",
    "Counts",
    "Encoder",
    "Inception",
    "Manifolds",
    "Moments",
    "PerceptualDistance",
    "Reservoir",
    "TrainingSet",
    "alike_within",
    "birthday",
    "clip",
    "clip_score",
    "diversity",
    "encoder",
    "features_of",
    "fid",
    "fid_infinity",
    "frechet_distance",
    "inception",
    "inception_score",
    "kernel_distance",
    "manifolds",
    "mifid",
    "nearest",
    "perceptual_path_length",
]
