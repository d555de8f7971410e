"""Attacks on faces: who is in a published photo, asked as an attacker would ask; one verb a file.

Embeddings of what is published and of what the attacker holds -> distances -> rank-1, TAR at a FAR, EER, and how sure
these are.
"""
