"""Documents in, records out: reading JSONL and Parquet, writing the folders of a run.

`shards` cuts inputs into parts, `jsonl` and `parquet` read one part each, `output` writes the parts
of a run and reads them again, `labels` names the files of labelled data and `gold` reads them.
Nothing here knows what is done with a document in between.
"""
