"""Texts to what is stored and searched; documents encoded later."""
