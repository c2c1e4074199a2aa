"""A model of a GPU: the time of a loop nest from what it asks of each unit; never a measurement."""

from runtime.gpu_model.prediction import Prediction, predict, refusal

__all__ = ["Prediction", "predict", "refusal"]
