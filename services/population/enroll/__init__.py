"""Photos of people, or arrays -> a population: one row a photo in Parquet files."""
