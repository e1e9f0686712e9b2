"""Classify the recordings of a folder on a Spark cluster with mapInPandas.

pip install pyspark "hf-ser[train]"
spark-submit examples/spark_predict.py examples/clips answers

The output is a folder of Parquet files with the columns of `hf-ser predict`. The tasks read the files themselves. To
read from a file system that only Spark knows, such as HDFS, load the format binaryFile and pass
BatchPredictor(column="content", name="path"); Spark leaves out empty files then.
"""

import argparse
from collections.abc import Sequence

from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import from_arrow_schema

from hf_ser.batch import BatchPredictor
from hf_ser.batch.recordings_listing import list_recordings


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="+", help="files, URLs or folders that all machines can read")
    parser.add_argument("output", help="folder for the Parquet files")
    parser.add_argument("--model", help="model folder, Hub id or graph (default: the model that comes with hf_ser)")
    parser.add_argument("--tasks", type=int, default=2, help="number of parts that tasks take one after the other")
    args = parser.parse_args(argv)
    spark = SparkSession.builder.appName("hf_ser").getOrCreate()
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "256")  # recordings in a frame
    predictor = BatchPredictor(args.model)
    names, _ = list_recordings(args.recordings)
    table = spark.createDataFrame([(name,) for name in names], "path string").repartition(args.tasks)
    answers = table.mapInPandas(predictor.frames, schema=from_arrow_schema(predictor.schema()))
    answers.write.parquet(args.output)


if __name__ == "__main__":
    main()
