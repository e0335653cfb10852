"""Build from each of several raw folders, and export tables to a folder `tables` beside it.

The interpreter of dbt-spark runs it; all builds share a Spark session, because a cold one takes several times longer.
"""

import json
import os
import sys
from pathlib import Path

from dbt.cli.main import dbtRunner
from pyspark.sql import SparkSession  # type: ignore[import-not-found]  # Spark is in an environment of its own

PROJECT = str(Path(__file__).parents[1])
tables, *folders = sys.argv[1:]

for raw in map(Path, folders):
    os.environ["DBT_SPARK_RAW"] = str(raw)
    if not dbtRunner().invoke(["run", "--project-dir", PROJECT, "--profiles-dir", PROJECT]).success:
        sys.exit(1)
    session = SparkSession.builder.getOrCreate()
    for name, table in json.loads(tables).items():
        session.sql(f"select * from {table}").write.parquet(str(raw.parent / "tables" / name))
