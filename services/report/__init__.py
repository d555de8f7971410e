"""Reports: what a release gives away and what it keeps, measured; one verb a file.

A release and its originals -> faces as recognisers see them -> attacks, utility, fairness -> a page, and JSON.
"""
