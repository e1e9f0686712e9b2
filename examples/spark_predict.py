"""Classify the recordings of a folder on a Spark cluster with mapInPandas.

pip install pyspark "hf-ser[train]"
spark-submit examples/spark_predict.py examples/clips answers

The output is a folder of Parquet files with the columns of `hf-ser predict`. Spark reads the files itself, so that the
recordings can be in any file system that it knows, such as S3 or HDFS.
"""

import argparse
from collections.abc import Sequence

from pyspark.sql import SparkSession
from pyspark.sql.functions import lower, regexp_extract
from pyspark.sql.pandas.types import from_arrow_schema

from hf_ser.batch import BatchPredictor
from hf_ser.batch.recordings_listing import MEDIA_SUFFIXES


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="folder of recordings, with subfolders")
    parser.add_argument("output", help="folder for the Parquet files")
    parser.add_argument("--model", help="model folder, Hub id or graph (default: the model that comes with hf_ser)")
    parser.add_argument("--partitions", type=int, default=2, help="number of tasks")
    args = parser.parse_args(argv)
    spark = SparkSession.builder.appName("hf_ser").getOrCreate()
    # Frames of a few hundred recordings: the default of 10,000 would keep that many files in memory.
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "256")
    predictor = BatchPredictor(args.model, column="content", name="path")
    files = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(args.folder)
    files = files.where(regexp_extract(lower("path"), r"\.\w+$", 0).isin(*MEDIA_SUFFIXES))
    answers = files.select("path", "content").repartition(args.partitions)
    answers.mapInPandas(predictor.frames, schema=from_arrow_schema(predictor.schema())).write.parquet(args.output)


if __name__ == "__main__":
    main()
