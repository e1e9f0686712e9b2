"""`hf-ser predict` and its functions for tables: any number of recordings, files of answers that can be resumed."""

from hf_ser.batch.batch_error import BatchError
from hf_ser.batch.batch_predictor import BatchPredictor
from hf_ser.batch.predict_command import PredictArguments, predict

__all__ = ["BatchError", "BatchPredictor", "PredictArguments", "predict"]
