"""Photo -> latent without an encoder network: a regression from embedding and pose to w, fitted on a generator.

`pairs` samples people and sees them as the service would, `fit` learns, `judge` looks at people nobody has learnt from,
`model` makes a file of it and a graph of the file.
"""
